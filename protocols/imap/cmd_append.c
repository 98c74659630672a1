/* SPDX-License-Identifier: MPL-2.0 */
/* APPEND: RFC 3501 section 6.3.11, with MULTIAPPEND (RFC 3502) and UIDPLUS (RFC 4315).
 *
 * Messages stream into lib/mail while they come in; nothing is visible until all of them are
 * committed in one record.
 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

#define APPEND_MESSAGES 1000 /* of one command */

struct appended {
    struct prepared *prepared;
    struct flags flags; /* the command's arena's */
    bool has_date;
    int64_t date;
};

struct append {
    struct slice mailbox;          /* the command's arena's */
    struct message_writer *writer; /* of the message that is coming in */
    struct flags flags;
    bool has_date;
    int64_t date;
    VEC(struct appended) messages;
};

static void append_free(void *context)
{
    struct append *a = context;

    message_writer_free(a->writer);
    for (size_t i = 0; i < a->messages.n; i++)
        prepared_unref(a->messages.items[i].prepared);
    VEC_DONE(&a->messages);
    free(a);
}

static int append_more(struct imap *im, struct command *cmd);

static int append_bytes(struct imap *im, struct command *cmd, struct slice bytes)
{
    struct append *a = cmd->context;

    return message_writer_feed(a->writer, bytes, &cmd->err);
}

/* A message's head has been read; args: flags, date, literal. */
static int begin_message(struct imap *im, struct command *cmd, const struct arg *args)
{
    struct append *a = cmd->context;
    uint64_t max = imap_message_max(im);

    if (cmd->parsed.stream > max)
        return imap_no(cmd, "TOOBIG", "A message may have %llu bytes", (unsigned long long)max);
    /* RFC 3502 section 6.3.11: so a client takes back what it has begun */
    if (cmd->parsed.stream == 0)
        return imap_no(cmd, "CANNOT", "A message of no bytes is not stored");
    if (a->messages.n == APPEND_MESSAGES)
        return imap_no(cmd, "LIMIT", "%d messages can be appended at once", APPEND_MESSAGES);
    a->flags = args[0].flags;
    a->has_date = args[1].kind;
    a->date = a->has_date ? args[1].date : 0;
    a->writer = message_writer_new(im->service->mail);
    if (im->phase != PHASE_LITERAL)
        imap_set_phase(im, PHASE_LITERAL);
    return RUN_WAIT;
}

int cmd_append(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    struct append *a;
    struct state *st;
    bool exists;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    exists = state_mailbox_named(st, args[0].text) != NULL;
    state_unref(st);
    if (!exists)
        return imap_no(cmd, "TRYCREATE", "There is no such mailbox");
    a = NEW(struct append);
    a->mailbox = args[0].text;
    cmd->context = a;
    cmd->context_free = append_free;
    cmd->bytes = append_bytes;
    cmd->more = append_more;
    cmd->more_rules = imap_rules_append_more;
    return begin_message(im, cmd, args + 1);
}

static int end_message(struct command *cmd)
{
    struct append *a = cmd->context;
    struct prepared *prepared;
    int r = message_writer_finish(a->writer, &prepared, &cmd->err);

    message_writer_free(TAKE(a->writer));
    if (r < 0)
        return r;
    *VEC_PUSH(&a->messages) = (struct appended){prepared, a->flags, a->has_date, a->date};
    return 0;
}

/* RFC 4315 section 3: the uids in the order in which the messages came. */
static void code_appenduid(struct command *cmd, struct intent **intents, size_t n)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);
    uint32_t first = intents[0]->uid, last = intents[n - 1]->uid;

    buf_printf(&b, "APPENDUID %u %u", intents[0]->uidvalidity, first);
    if (last - first == n - 1 && n > 1)
        buf_printf(&b, ":%u", last);
    for (size_t i = 1; i < n && last - first != n - 1; i++)
        buf_printf(&b, ",%u", intents[i]->uid);
    cmd->code = arena_str(&cmd->arena, buf_slice(&b));
}

static int commit(struct imap *im, struct command *cmd)
{
    struct append *a = cmd->context;
    size_t n = a->messages.n;
    struct intent **intents = arena_array(&cmd->arena, n, sizeof *intents);
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        intents[i] = ARENA_NEW(&cmd->arena, struct intent);
        *intents[i] = (struct intent){
            .kind = INTENT_APPEND,
            .account = im->account,
            .name = a->mailbox,
            .prepared = a->messages.items[i].prepared,
            .flags = a->messages.items[i].flags,
            .has_date = a->messages.items[i].has_date,
            .date = a->messages.items[i].date,
            .in_one_record_with_next = i + 1 < n,
        };
    }
    mail_commit(im->service->mail, intents, n);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = intents[i]->result;
        cmd->err = intents[i]->error;
    }
    if (r == 0)
        code_appenduid(cmd, intents, n);
    else if (r == -ERR_NOTFOUND)
        cmd->code = "TRYCREATE";
    for (size_t i = 0; i < n; i++)
        intent_done(intents[i]);
    return r;
}

static int append_more(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    int r = end_message(cmd);

    if (r < 0)
        return r;
    if (args[2].kind == RULE_STREAM)
        return begin_message(im, cmd, args);
    if (args[0].kind || args[1].kind)
        return imap_bad(cmd, "Flags or a date without a message");
    return commit(im, cmd);
}
