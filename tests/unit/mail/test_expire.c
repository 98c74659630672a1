/* SPDX-License-Identifier: MPL-2.0 */
/* Retention, on a store whose clock is moved on by days. */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/expire.h"
#include "lib/mail/message.h"
#include "lib/store/faulty.h"

#define ACCOUNT 77
#define DAY     ((int64_t)24 * 3600 * 1000)

struct rig {
    struct store *inner, *store;
    struct mail *mail;
    struct account *account;
};

static void rig_init(struct rig *r)
{
    struct fault_plan plan = {.late_calls = 3};
    struct mail_account_options options = {0};
    struct mail_settings settings;

    mail_settings_default(&settings);
    cr_assert_eq(store_open("memory:", NULL, &r->inner, NULL), 0);
    r->store = store_faulty_new(r->inner, &plan);
    cr_assert_eq(mail_new(r->store, NULL, &settings, &r->mail, NULL), 0);
    cr_assert_eq(mail_account_create(r->mail, ACCOUNT, &options, NULL), 0);
    cr_assert_eq(account_open(r->mail, ACCOUNT, &r->account, NULL), 0);
}

static void rig_done(struct rig *r)
{
    account_unref(r->account);
    mail_free(r->mail);
    store_close(r->store);
    store_close(r->inner);
}

static void commit(struct rig *r, struct intent *it)
{
    it->account = r->account;
    mail_commit(r->mail, (struct intent *[]){it}, 1);
    cr_assert_eq(it->result, 0, "%s", it->error.text);
    intent_done(it);
}

static void append(struct rig *r, const char *mailbox)
{
    struct message_writer *w = message_writer_new(r->mail);
    struct intent it = {.kind = INTENT_APPEND, .name = slice_str(mailbox)};

    cr_assert_eq(message_writer_feed(w, S("Subject: x\r\n\r\ny\r\n"), NULL), 0);
    cr_assert_eq(message_writer_finish(w, &it.prepared, NULL), 0);
    message_writer_free(w);
    commit(r, &it);
    prepared_unref(it.prepared);
}

/* The clock jumps, so the replica has to look again: it would not commit from so old a position. */
static void days_pass(struct rig *r, int days)
{
    store_faulty_advance(r->store, days * DAY);
    cr_assert_eq(account_refresh(r->account, NULL, NULL), 0);
}

static uint64_t expire(struct rig *r, int64_t standard_ms)
{
    uint64_t n = 1000000;
    struct error err = {0};

    cr_assert_eq(expire_account(r->mail, ACCOUNT, standard_ms, &n, &err), 0, "%s", err.text);
    return n;
}

static uint64_t mailbox_id(struct rig *r, const char *name)
{
    struct state *st = account_state(r->account);
    uint64_t id = state_mailbox_named(st, slice_str(name))->id;

    state_unref(st);
    return id;
}

static uint32_t exists(struct rig *r, const char *name)
{
    struct state *st = account_state(r->account);
    uint32_t n = state_mailbox_named(st, slice_str(name))->sum.exists;

    state_unref(st);
    return n;
}

Test(expire, I31_what_is_too_old_is_expunged_by_an_ordinary_record)
{
    struct rig r;
    struct state *before, *after;
    CLEANUP(uidset_done) struct uidset gone = {0};
    uint64_t inbox;

    rig_init(&r);
    for (int i = 0; i < 3; i++)
        append(&r, "INBOX");
    days_pass(&r, 20);
    append(&r, "INBOX");
    cr_assert_eq(expire(&r, 30 * DAY), 0);
    days_pass(&r, 11);
    before = account_state(r.account);
    inbox = mailbox_id(&r, "INBOX");
    cr_assert_eq(expire(&r, 30 * DAY), 3);

    after = account_state(r.account);
    cr_assert_eq(exists(&r, "INBOX"), 1);
    cr_assert_eq(state_mailbox(after, inbox)->sum.modseq, after->seq, "MODSEQ rises");
    cr_assert(state_vanished(after, inbox, before->seq, &gone));
    cr_assert(uidset_count(&gone) == 3 && uidset_has(&gone, 1) && uidset_has(&gone, 3));
    cr_assert_eq(after->used_messages, 1, "quota falls");
    cr_assert_eq(after->used_bytes * 4, before->used_bytes);

    cr_assert_eq(expire(&r, 30 * DAY), 0);
    state_unref(before);
    before = account_state(r.account);
    cr_assert_eq(before->seq, after->seq, "nothing to do is no record");
    state_unref(before);
    state_unref(after);
    rig_done(&r);
}

Test(expire, the_nearest_age_counts)
{
    struct rig r;
    struct intent box = {.kind = INTENT_SET, .key = S(VALUE_EXPIRE_MS)};
    struct intent account = {.kind = INTENT_ACCOUNT, .key = S(VALUE_EXPIRE_MS)};
    struct intent bad = account;

    rig_init(&r);
    append(&r, "INBOX");
    append(&r, "Trash");
    append(&r, "Archive");
    days_pass(&r, 5);
    cr_assert_eq(expire(&r, EXPIRE_NEVER), 0);

    box.mailbox = mailbox_id(&r, "Archive");
    box.value = S("0");
    commit(&r, &box);
    account.value = S("864000000"); /* 10 days */
    commit(&r, &account);
    cr_assert_eq(expire(&r, DAY), 0, "the account's counts before the standard");
    box.mailbox = mailbox_id(&r, "Trash");
    box.value = S("86400000");
    commit(&r, &box);
    cr_assert_eq(expire(&r, EXPIRE_NEVER), 1, "the mailbox's before the account's");
    cr_assert_eq(exists(&r, "Trash"), 0);
    days_pass(&r, 6);
    cr_assert_eq(expire(&r, EXPIRE_NEVER), 1);
    cr_assert_eq(exists(&r, "INBOX"), 0);
    cr_assert_eq(exists(&r, "Archive"), 1, "0 is for ever");

    bad.account = r.account;
    bad.value = S("soon");
    mail_commit(r.mail, (struct intent *[]){&bad}, 1);
    cr_assert_eq(bad.result, -ERR_INVALID);
    intent_done(&bad);
    rig_done(&r);
}

Test(expire, a_move_begins_anew)
{
    struct rig r;
    struct uid_range one = {1, 1};
    struct intent move = {.kind = INTENT_MOVE, .name = S("Archive"), .uids = {&one, 1, 1}};

    rig_init(&r);
    append(&r, "INBOX");
    days_pass(&r, 5);
    move.mailbox = mailbox_id(&r, "INBOX");
    commit(&r, &move);
    cr_assert_eq(expire(&r, 3 * DAY), 0);
    days_pass(&r, 4);
    cr_assert_eq(expire(&r, 3 * DAY), 1);
    rig_done(&r);
}

Test(expire, a_large_mailbox_goes_piece_by_piece_and_keeps_what_is_young)
{
    struct rig r;
    struct uid_range all = {1, UINT32_MAX};

    rig_init(&r);
    append(&r, "INBOX");
    for (int i = 0; i < 15; i++) {
        struct intent copy = {.kind = INTENT_COPY, .name = S("INBOX"), .uids = {&all, 1, 1}};

        copy.mailbox = mailbox_id(&r, "INBOX");
        commit(&r, &copy);
    }
    days_pass(&r, 5);
    append(&r, "INBOX");
    cr_assert_eq(exists(&r, "INBOX"), 32769);
    cr_assert_eq(expire(&r, 3 * DAY), 32768);
    cr_assert_eq(exists(&r, "INBOX"), 1);
    rig_done(&r);
}
