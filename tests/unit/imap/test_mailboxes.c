/* SPDX-License-Identifier: MPL-2.0 */
/* Invariants of mailboxes as sessions see them: I17, I18, I20. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/mail/message.h"
#include "tests/unit/imap/talk.h"

#define ALL "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID SIZE)"

static struct talk *begin(void)
{
    struct talk *t = talk_new();

    talk_login(t, 1);
    talk_login(t, 2);
    return t;
}

/* What STATUS says of a mailbox, without its name. The caller frees it. */
static char *status(struct talk *t, const char *name)
{
    char line[200];
    const char *got;

    snprintf(line, sizeof line, "s STATUS %s " ALL, name);
    got = strchr(talk(t, 1, line), '(');
    cr_assert(got, "%s", name);
    return slice_dup(slice_sub(slice_str(got), 0, (size_t)(strchr(got, '\n') - got)));
}

static void check_status(struct talk *t, const char *name, const char *expected)
{
    CLEANUP_FREE char *got = status(t, name);

    cr_assert_str_eq(got, expected, "%s", name);
}

static uint64_t seq_now(struct talk *t)
{
    struct account *a;
    struct state *st;
    uint64_t seq;
    struct error err = {0};

    cr_assert_eq(account_open(t->world->mail, t->world->account, &a, &err), 0);
    st = account_state(a);
    seq = st->seq;
    state_unref(st);
    account_unref(a);
    return seq;
}

/* "RENAME moves inferiors atomically, keeps MAILBOXID, UIDs, MODSEQs" */
Test(mailboxes, I17_rename_keeps_what_mailboxes_are)
{
    struct talk *t = begin();
    CLEANUP_FREE char *top = NULL;
    CLEANUP_FREE char *deep = NULL;
    uint64_t seq;

    talk_has(t, 1, "_ CREATE a/b/c", "_ OK ${*}");
    cr_assert(imap_world_fill(t->world, S("a"), 3));
    cr_assert(imap_world_fill(t->world, S("a/b/c"), 2));
    top = status(t, "a");
    deep = status(t, "a/b/c");
    seq = seq_now(t);
    talk_is(t, 1, "r RENAME a y/z", "r OK ${*}");
    cr_assert_eq(seq_now(t), seq + 1); /* one record, so no state between */
    check_status(t, "y/z", top);
    check_status(t, "y/z/b/c", deep);
    talk_is(t, 1, "s STATUS a (MESSAGES)", "s NO [NONEXISTENT] ${*}");
    talk_is(t, 1, "l LIST \"\" (a* y*)",
            "* LIST (\\HasChildren) \"/\" \"y\"\n"
            "* LIST (\\HasChildren) \"/\" \"y/z\"\n"
            "* LIST (\\HasChildren) \"/\" \"y/z/b\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"y/z/b/c\"\nl OK ${*}");
    /* a new mailbox of the old name is another one: I3, I19 */
    talk_has(t, 1, "_ CREATE a", "_ OK ${*}");
    talk_lacks(t, 1, "s STATUS a " ALL, top);
    talk_free(t);
}

/* A session that has it selected goes on. */
Test(mailboxes, I17_rename_under_a_session)
{
    struct talk *t = begin();

    talk_has(t, 1, "_ CREATE a/b", "_ OK ${*}");
    cr_assert(imap_world_fill(t->world, S("a/b"), 2));
    talk_has(t, 2, "_ SELECT a/b", "_ OK ${*}");
    talk_is(t, 1, "r RENAME a z", "r OK ${*}");
    cr_assert(imap_world_fill(t->world, S("z/b"), 1));
    talk_is(t, 2, "n NOOP", "* 3 EXISTS\nn OK ${*}");
    talk_is(t, 2, "f FETCH 1:3 UID",
            "* 1 FETCH (UID 1)\n* 2 FETCH (UID 2)\n* 3 FETCH (UID 3)\n"
            "f OK ${*}");
    talk_free(t);
}

/* "RENAME INBOX moves its messages and leaves it empty"; RFC 3501 section 6.3.5: inferiors "are
 * unaffected by a rename of INBOX" */
Test(mailboxes, I17_rename_of_inbox)
{
    struct talk *t = begin();
    uint64_t seq;

    talk_has(t, 1, "_ CREATE INBOX/below", "_ OK ${*}");
    cr_assert(imap_world_fill(t->world, S("INBOX"), 3));
    talk_has(t, 2, "_ SELECT INBOX", "_ OK ${*}");
    seq = seq_now(t);
    talk_is(t, 1, "r RENAME inbox old/mail", "r OK ${*}");
    cr_assert_eq(seq_now(t), seq + 1);
    talk_is(t, 1, "a STATUS old/mail (MESSAGES UIDNEXT)",
            "* STATUS \"old/mail\" (MESSAGES 3 UIDNEXT 4)\na OK ${*}");
    talk_is(t, 1, "b STATUS INBOX (MESSAGES UIDNEXT)",
            "* STATUS \"INBOX\" (MESSAGES 0 UIDNEXT 4)\nb OK ${*}");
    talk_is(t, 1, "c LIST \"\" (INBOX* old*)",
            "* LIST (\\HasChildren) \"/\" \"INBOX\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"INBOX/below\"\n"
            "* LIST (\\HasChildren) \"/\" \"old\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"old/mail\"\nc OK ${*}");
    talk_is(t, 2, "n NOOP", "* 3 EXPUNGE\n* 2 EXPUNGE\n* 1 EXPUNGE\nn OK ${*}");
    talk_is(t, 1, "d RENAME INBOX Sent", "d NO [ALREADYEXISTS] ${*}");
    talk_free(t);
}

/* "A mailbox deleted under a session: NO [NONEXISTENT] or BYE, never another mailbox's data": also
 * not those of a new one of that name. */
Test(mailboxes, I18_deleted_under_a_session)
{
    static const char *const commands[] = {"x NOOP",
                                           "x FETCH 1 BODY[]",
                                           "x UID FETCH 1:* FLAGS",
                                           "x STORE 1 +FLAGS (\\Seen)",
                                           "x SEARCH ALL",
                                           "x EXPUNGE",
                                           "x COPY 1 INBOX",
                                           "x MOVE 1 INBOX",
                                           "x STATUS a (MESSAGES)",
                                           "x CHECK",
                                           "x IDLE"};

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        struct talk *t = begin();
        const char *got;

        talk_has(t, 1, "_ CREATE a", "_ OK ${*}");
        cr_assert(imap_world_fill(t->world, S("a"), 1));
        talk_has(t, 2, "_ SELECT a", "_ OK ${*}");
        talk_is(t, 1, "_ DELETE a", "_ OK ${*}");
        talk_has(t, 1, "_ CREATE a", "_ OK ${*}");
        cr_assert(imap_world_append(t->world, S("a"), S("Subject: another\r\n\r\nsecret\r\n")));
        got = talk(t, 2, commands[i]);
        cr_assert(!strstr(got, "secret") && !strstr(got, "EXISTS"), "%s: %s", commands[i], got);
        cr_assert(strstr(got, "[NONEXISTENT]"), "%s: %s", commands[i], got);
        talk(t, 2, "y NOOP");
        cr_assert(talk_closed(t, 2), "%s", commands[i]);
        /* nothing has come out of the new one */
        talk_is(t, 1, "s STATUS a (MESSAGES UNSEEN)",
                "* STATUS \"a\" (MESSAGES 1 UNSEEN 1)\ns OK ${*}");
        talk_is(t, 1, "s STATUS INBOX (MESSAGES)", "* STATUS \"INBOX\" (MESSAGES 0)\ns OK ${*}");
        talk_free(t);
    }
}

/* "a delivery racing with it is never lost": what comes behind the DELETE goes to INBOX. */
Test(mailboxes, I18_a_delivery_to_what_was_deleted_is_in_inbox)
{
    struct talk *t = begin();
    struct message_writer *writer = message_writer_new(t->world->mail);
    struct prepared *prepared;
    struct error err = {0};
    struct intent gone = {.kind = INTENT_DELETE, .name = S("a")};
    struct intent mail = {.kind = INTENT_DELIVER, .name = S("a"), .else_inbox = true};
    struct intent *list[] = {&gone, &mail};

    talk_has(t, 1, "_ CREATE a", "_ OK ${*}");
    cr_assert_eq(message_writer_feed(writer, S("Subject: x\r\n\r\ny\r\n"), &err), 0);
    cr_assert_eq(message_writer_finish(writer, &prepared, &err), 0);
    cr_assert_eq(account_open(t->world->mail, t->world->account, &gone.account, &err), 0);
    mail.account = gone.account;
    mail.prepared = prepared;
    mail_commit(t->world->mail, list, 2);
    cr_assert(gone.result == 0 && mail.result == 0 && gone.seq == mail.seq);
    talk_is(t, 1, "s STATUS INBOX (MESSAGES)", "* STATUS \"INBOX\" (MESSAGES 1)\ns OK ${*}");
    talk_is(t, 1, "a STATUS a (MESSAGES)", "a NO [NONEXISTENT] ${*}");
    account_unref(gone.account);
    intent_done(&gone);
    intent_done(&mail);
    prepared_unref(prepared);
    message_writer_free(writer);
    talk_free(t);
}

static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, word)); p++)
        n++;
    return n;
}

/* Counts again what STATUS says, by FETCH on a connection of its own. */
static void recount(struct talk *t, const char *mailbox)
{
    unsigned messages, unseen, deleted;
    unsigned long long size, storage, sum = 0, gone = 0;
    char line[100];
    const char *got, *p;

    snprintf(line, sizeof line, "r EXAMINE %s", mailbox);
    talk_has(t, 3, line, "r OK ${*}");
    got = talk(t, 3, "f FETCH 1:* (FLAGS RFC822.SIZE)");
    messages = count(got, "FETCH (");
    unseen = messages - count(got, "\\Seen");
    deleted = count(got, "\\Deleted");
    for (p = got; (p = strstr(p, "FLAGS (")); p++) {
        bool is_deleted = strstr(p, "\\Deleted") && strstr(p, "\\Deleted") < strchr(p, ')');
        unsigned long long n;

        cr_assert_eq(sscanf(strstr(p, "SIZE "), "SIZE %llu", &n), 1);
        sum += n;
        gone += is_deleted ? n : 0;
    }
    snprintf(line, sizeof line, "s STATUS %s (SIZE DELETED-STORAGE)", mailbox);
    got = strchr(talk(t, 1, line), '(');
    cr_assert(got && sscanf(got, "(SIZE %llu DELETED-STORAGE %llu)", &size, &storage) == 2);
    cr_assert(size == sum && storage == gone, "%llu %llu, %llu %llu", size, sum, storage, gone);
    snprintf(line, sizeof line, "s STATUS %s (MESSAGES UNSEEN DELETED)", mailbox);
    got = talk(t, 1, line);
    snprintf(line, sizeof line, "(MESSAGES %u UNSEEN %u DELETED %u)", messages, unseen, deleted);
    cr_assert(strstr(got, line), "%s: %s", got, line);
}

/* "STATUS equals a recount at some commit point between command and reply" */
Test(mailboxes, I20_status_is_a_recount, .timeout = 100)
{
    static const char *const commands[] = {"x STORE 2:4 +FLAGS.SILENT (\\Seen)",
                                           "x STORE 3 +FLAGS.SILENT (\\Deleted)",
                                           "x COPY 1:3 Sent",
                                           "x EXPUNGE",
                                           "x STORE 1:* +FLAGS.SILENT (\\Seen $x)",
                                           "x MOVE 2 Sent",
                                           "x STORE 1 -FLAGS.SILENT (\\Seen)",
                                           "x APPEND INBOX (\\Seen) {6+}\r\na: b\r\n",
                                           "x APPEND INBOX (\\Deleted) {6+}\r\na: b\r\n",
                                           "x STORE 1 FLAGS.SILENT (\\Deleted)",
                                           "x EXPUNGE",
                                           "x STORE 1:* FLAGS.SILENT ()"};
    struct talk *t = begin();

    talk_login(t, 3);
    cr_assert(imap_world_fill(t->world, S("INBOX"), 5));
    talk_has(t, 2, "_ SELECT INBOX", "_ OK ${*}");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        talk_has(t, 2, commands[i], "x OK ${*}");
        recount(t, "INBOX");
        recount(t, "Sent");
    }
    talk_free(t);
}
