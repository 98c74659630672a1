/* SPDX-License-Identifier: MPL-2.0 */
/* APPEND: RFC 3501 section 6.3.11, with MULTIAPPEND (RFC 3502), UIDPLUS (RFC 4315) and BINARY (RFC
 * 3516); CATENATE (RFC 4469, RFC 5550); REPLACE (RFC 8508).
 *
 * Messages stream into lib/mail while they come in; nothing is visible until all of them are
 * committed in one record, which for REPLACE also removes the message that is replaced.
 *
 * A literal8 may hold NULs, which no other client could be shown by a plain FETCH BODY: parts of
 * Content-Transfer-Encoding binary are made base64 on their way in (lib/mime/recode.h), and a NUL
 * elsewhere is refused.
 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mime/recode.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/url_data.h"

struct appended {
    struct prepared *prepared;
    struct flags flags; /* the command's arena's */
    bool has_date;
    int64_t date;
};

struct append {
    struct slice mailbox;          /* the command's arena's */
    struct message_writer *writer; /* of the message that is coming in */
    struct recode *recode;         /* before it, for a literal8 */
    struct flags flags;
    bool has_date;
    int64_t date;
    bool utf8;     /* it is within "UTF8 (...)" (RFC 6855 section 4) */
    bool catenate; /* ... within "CATENATE (...)" (RFC 4469) */
    VEC(struct appended) messages;
    size_t memory;   /* that they hold */
    uint32_t victim; /* REPLACE: uid in the selected mailbox */
};

static void append_free(void *context)
{
    struct append *a = context;

    recode_free(a->recode);
    message_writer_free(a->writer);
    for (size_t i = 0; i < a->messages.n; i++)
        prepared_unref(a->messages.items[i].prepared);
    VEC_DONE(&a->messages);
    free(a);
}

/* --- a message comes in ------------------------------------------------------------------------
 */

static int write_bytes(void *ctx, struct slice bytes)
{
    struct command *cmd = ctx;
    struct append *a = cmd->context;

    return message_writer_feed(a->writer, bytes, &cmd->err);
}

/* RFC 3516 section 4.4: "If the destination mailbox does not support the storage of binary content,
 * the server MUST fail the request and issue a "NO" response that contains the "UNKNOWN-CTE"
 * extended response code." */
static int recoded(struct command *cmd, int r)
{
    if (r == -ERR_INVALID)
        return imap_no(cmd, "UNKNOWN-CTE", "A NUL outside a part of encoding binary");
    return r;
}

static int append_bytes(struct imap *im, struct command *cmd, struct slice bytes)
{
    struct append *a = cmd->context;

    if (a->recode)
        return recoded(cmd, recode_feed(a->recode, bytes));
    return write_bytes(cmd, bytes);
}

/* What "{n}" begins, or a part of CATENATE. */
static int begin_literal(struct imap *im, struct command *cmd)
{
    struct append *a = cmd->context;
    uint64_t max = imap_message_max(im), so_far = message_writer_size(a->writer);

    if (cmd->parsed.stream > max || so_far > max - cmd->parsed.stream)
        return imap_no(cmd, "TOOBIG", "A message may have %llu bytes", (unsigned long long)max);
    /* RFC 3502 section 6.3.11: so a client takes back what it has begun */
    if (cmd->parsed.stream == 0 && !a->catenate)
        return imap_no(cmd, "CANNOT", "A message of no bytes is not stored");
    if (im->phase != PHASE_LITERAL)
        imap_set_phase(im, PHASE_LITERAL);
    return RUN_WAIT;
}

/* A message's head has been read; args: flags, date, literal or what stands for it. */
static int begin_message(struct imap *im, struct command *cmd, const struct arg *args)
{
    struct append *a = cmd->context;
    const struct imap_settings *s = &im->service->settings;
    const struct arg *data = &args[2];
    bool word = data->kind == RULE_WORD, binary = data->binary;
    int r = imap_limit_check(im, cmd, a->messages.n + 1, true);

    if (r < 0)
        return r;
    if (a->messages.n >= s->append_messages)
        return imap_no(cmd, "LIMIT", "%u messages can be appended at once", s->append_messages);
    if (a->messages.n && a->memory >= s->append_memory)
        return imap_no(cmd, "LIMIT", "Messages of %zu bytes can be appended at once",
                       s->append_memory);
    a->flags = args[0].flags;
    a->has_date = args[1].kind;
    a->date = a->has_date ? args[1].date : 0;
    a->utf8 = word && data->word == APPEND_UTF8;
    a->catenate = word && data->word == APPEND_CATENATE;
    a->writer = message_writer_new(im->service->mail);
    if (word)
        binary = a->catenate || data->items[0].items[0].binary;
    a->recode = binary ? recode_new(write_bytes, cmd) : NULL;
    return 0;
}

static int end_message(struct command *cmd)
{
    struct append *a = cmd->context;
    struct prepared *prepared;
    int r = a->recode ? recoded(cmd, recode_finish(a->recode)) : 0;

    recode_free(TAKE(a->recode));
    if (r == 0 && message_writer_size(a->writer) == 0)
        r = imap_no(cmd, "CANNOT", "A message of no bytes is not stored");
    if (r == 0)
        r = message_writer_finish(a->writer, &prepared, &cmd->err);
    message_writer_free(TAKE(a->writer));
    if (r < 0)
        return r;
    a->memory += prepared_memory(prepared);
    *VEC_PUSH(&a->messages) = (struct appended){prepared, a->flags, a->has_date, a->date};
    return 0;
}

/* --- all are in --------------------------------------------------------------------------------
 */

/* RFC 4315 section 3: the uids in the order in which the messages came. */
static const char *code_appenduid(struct command *cmd, struct intent **intents, size_t n)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);
    uint32_t first = intents[0]->uid, last = intents[n - 1]->uid;

    buf_printf(&b, "APPENDUID %u %u", intents[0]->uidvalidity, first);
    if (last - first == n - 1 && n > 1)
        buf_printf(&b, ":%u", last);
    for (size_t i = 1; i < n && last - first != n - 1; i++)
        buf_printf(&b, ",%u", intents[i]->uid);
    return arena_str(&cmd->arena, buf_slice(&b));
}

/* Whether it was the target or the selected mailbox that is not there. */
static int refused(struct imap *im, struct command *cmd, int r)
{
    struct append *a = cmd->context;
    struct state *st;

    if (r == -ERR_CONFLICT)
        cmd->code = "EXPUNGEISSUED";
    if (r != -ERR_NOTFOUND)
        return r;
    st = account_state(im->account);
    if (!state_mailbox_named(st, a->mailbox))
        cmd->code = "TRYCREATE";
    state_unref(st);
    return r;
}

static int commit_all(struct imap *im, struct command *cmd, struct intent **intents, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        intents[i]->account = im->account;
        intents[i]->in_one_record_with_next = i + 1 < n;
    }
    mail_commit(im->service->mail, intents, n);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = intents[i]->result;
        cmd->err = intents[i]->error;
    }
    return r < 0 ? refused(im, cmd, r) : 0;
}

static int commit(struct imap *im, struct command *cmd)
{
    struct append *a = cmd->context;
    size_t n = a->messages.n, first = a->victim != 0;
    struct intent *all = arena_array(&cmd->arena, n + 1, sizeof *all);
    struct intent **intents = arena_array(&cmd->arena, n + 1, sizeof *intents);
    struct uid_range range = {a->victim, a->victim};
    int r;

    for (size_t i = 0; i <= n; i++)
        intents[i] = &all[i];
    /* first, so that an account that is full can replace a draft by one that is no larger */
    if (a->victim)
        all[0] = (struct intent){.kind = INTENT_EXPUNGE,
                                 .mailbox = im->mailbox,
                                 .all_there = true,
                                 .uids = {&range, 1, 1}};
    for (size_t i = 0; i < n; i++)
        all[first + i] = (struct intent){.kind = INTENT_APPEND,
                                         .name = a->mailbox,
                                         .prepared = a->messages.items[i].prepared,
                                         .flags = a->messages.items[i].flags,
                                         .has_date = a->messages.items[i].has_date,
                                         .date = a->messages.items[i].date};
    r = commit_all(im, cmd, intents, first + n);
    if (r == 0) {
        cmd->code = code_appenduid(cmd, intents + first, n);
        imap_notify_own_messages(im, all[first].mailbox_id, all[first].uid, n);
    }
    for (size_t i = 0; i < first + n; i++)
        intent_done(intents[i]);
    return r;
}

/* RFC 8508 section 4.3: APPENDUID before the EXPUNGE, as MOVE does it. */
static int finish(struct imap *im, struct command *cmd)
{
    const struct append *a = cmd->context;
    int r = commit(im, cmd);

    if (r == 0 && a->victim)
        buf_printf(&im->s.out, "* OK [%s] Replacement is in\r\n", TAKE(cmd->code));
    return r;
}

/* --- CATENATE ----------------------------------------------------------------------------------
 */

struct copying {
    struct imap *im;
    struct command *cmd;
};

/* Within the limit of a message: the parts may be many. */
static int write_part(void *ctx, struct slice bytes)
{
    struct copying *to = ctx;
    struct append *a = to->cmd->context;
    uint64_t max = imap_message_max(to->im), so_far = message_writer_size(a->writer);

    if (so_far > max || bytes.n > max - so_far)
        return imap_no(to->cmd, "TOOBIG", "A message may have %llu bytes", (unsigned long long)max);
    return append_bytes(to->im, to->cmd, bytes);
}

/* An absolute path: of the account itself. */
static int copy_path(struct imap *im, struct command *cmd, const struct imap_url *url)
{
    struct copying to = {im, cmd};
    struct state *st;
    int r = url->host.n ? -ERR_NOTFOUND : account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    r = url_data_copy(im->account, st, url, write_part, &to, &cmd->err);
    state_unref(st);
    return r;
}

static int copy_url(struct imap *im, struct command *cmd, struct slice text)
{
    struct imap_url url;
    int r = imap_url_parse(text, &cmd->arena, &url, &cmd->err);

    if (r == 0)
        r = copy_path(im, cmd, &url);
    if ((r == -ERR_INVALID || r == -ERR_NOTFOUND) && !cmd->status)
        return imap_no(cmd, imap_badurl(cmd, text), "The URL names nothing here");
    return r;
}

/* The parts that have been read: URLs, and perhaps a TEXT whose literal begins (RUN_WAIT). */
static int take_parts(struct imap *im, struct command *cmd, const struct arg *parts)
{
    int r = 0;

    for (size_t i = 0; i < parts->n && r == 0; i++)
        r = parts->items[i].word == CATENATE_URL ? copy_url(im, cmd, parts->items[i].items[0].text)
                                                 : begin_literal(im, cmd);
    return r;
}

/* --- message after message ---------------------------------------------------------------------
 */

/* args: flags, date, data of the next message, or nothing. */
static int next_message(struct imap *im, struct command *cmd, const struct arg *args)
{
    const struct append *a = cmd->context;
    int r;

    if (!args[2].kind)
        return args[0].kind || args[1].kind ? imap_bad(cmd, "Flags or a date without a message")
                                            : finish(im, cmd);
    if (a->victim && a->messages.n)
        return imap_bad(cmd, "REPLACE takes one message"); /* RFC 8508 section 4.7 */
    r = begin_message(im, cmd, args);
    if (r < 0)
        return r;
    if (!a->catenate)
        return begin_literal(im, cmd);
    r = take_parts(im, cmd, &args[2].items[0].items[0]);
    if (r == 0)
        r = end_message(cmd);
    return r == 0 ? next_message(im, cmd, args[2].items + 1) : r;
}

/* Behind a literal; args: more parts of CATENATE, ")", then as above. */
static int append_more(struct imap *im, struct command *cmd)
{
    const struct append *a = cmd->context;
    const struct arg *args = cmd->parsed.args;
    bool open = a->utf8 || a->catenate;
    int r = 0;

    if (args[0].kind && !a->catenate)
        return imap_bad(cmd, "Parts of a message without CATENATE");
    if (args[0].kind)
        r = take_parts(im, cmd, &args[0]);
    if (r != 0)
        return r;
    if (open != (args[1].kind == RULE_CLOSE))
        return imap_bad(cmd, open ? "A ( is not closed" : "Nothing is open that ) could close");
    r = end_message(cmd);
    return r == 0 ? next_message(im, cmd, args + 2) : r;
}

/* --- the commands ------------------------------------------------------------------------------
 */

static int begin(struct imap *im, struct command *cmd, struct slice mailbox, uint32_t victim)
{
    struct append *a;
    struct state *st;
    bool exists;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    exists = state_mailbox_named(st, mailbox) != NULL;
    state_unref(st);
    if (!exists)
        return imap_no(cmd, "TRYCREATE", "There is no such mailbox");
    a = NEW(struct append);
    a->mailbox = mailbox;
    a->victim = victim;
    cmd->context = a;
    cmd->context_free = append_free;
    cmd->bytes = append_bytes;
    cmd->more = append_more;
    cmd->more_rules = imap_rules_append_more;
    return 0;
}

int cmd_append(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    int r = begin(im, cmd, args[0].text, 0);

    if (r < 0)
        return r;
    return next_message(im, cmd, args + 1);
}

/* The one message that is meant, from here on by its uid. */
static int find_victim(struct imap *im, struct command *cmd, const struct arg *set, uint32_t *ret)
{
    CLEANUP(uidset_done) struct uidset uids = {0};
    struct message m;
    bool gone = false;
    int r;

    if (set->set.saved || set->set.n != 1 || set->set.items[0].first != set->set.items[0].last)
        return imap_bad(cmd, "REPLACE takes the number of one message");
    r = imap_resolve_set(im, cmd, set, &uids);
    if (r < 0)
        return r;
    if (!uids.n || !view_message(im->view, uids.items[0].first, &m, &gone))
        return imap_no(cmd, "NONEXISTENT", "There is no such message");
    if (gone)
        return imap_no(cmd, "EXPUNGEISSUED", "The message is expunged");
    *ret = m.uid;
    return 0;
}

int cmd_replace(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    uint32_t victim = 0;
    int r = find_victim(im, cmd, &args[0], &victim);

    if (r == 0)
        r = begin(im, cmd, args[1].text, victim);
    if (r < 0)
        return r;
    return next_message(im, cmd, args + 2);
}
