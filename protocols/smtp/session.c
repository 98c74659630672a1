/* SPDX-License-Identifier: MPL-2.0 */
/* The SMTP session: states, command table, replies.
 *
 * States: a connection is NEW until it said hello, then READY; a transaction is MAIL or RCPT; its
 * content comes in DATA, or in BDAT chunks between which it is in CHUNKS. One function changes the
 * state. Commands may be pipelined (RFC 2920): a step handles all that are there, until one commits
 * or the output passes a slice.
 *
 * What a peer sends is bounded everywhere: the line by SMTP_LINE_MAX, parameters, recipients, the
 * message by settings; content beyond the limit is read and dropped, so that the reply can be given
 * where the protocol wants it.
 *
 * STANDARDS: RFC 5321, RFC 2033 (LMTP), RFC 1870 (SIZE), RFC 2034 and 3463 (enhanced codes), RFC
 * 2920, RFC 3030 (CHUNKING, BINARYMIME), RFC 3207 (STARTTLS), RFC 6152, RFC 6531 (SMTPUTF8).
 *
 * To add a command: a row in `commands`. To add an extension: a line in `say_extensions`, a row in
 * `mail_params` or `rcpt_params`.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/log.h"
#include "protocols/smtp/smtp.h"

#define INPUT_MAX  ((size_t)256 << 10) /* bytes taken in before a step must have handled some */
#define OUTPUT_MAX ((size_t)4 << 20)

enum state {
    STATE_NEW,    /* connected, or TLS begun: no hello yet */
    STATE_READY,  /* hello said; no transaction */
    STATE_MAIL,   /* sender known */
    STATE_RCPT,   /* at least one recipient accepted */
    STATE_DATA,   /* content by DATA */
    STATE_BDAT,   /* inside a chunk */
    STATE_CHUNKS, /* between chunks */
    STATE_CLOSED,
    STATES_
};

static const char *const state_names[STATES_] = {"new",  "ready", "mail",   "rcpt",
                                                 "data", "bdat",  "chunks", "closed"};

#define BIT(state) (1u << (state))
#define IN_SESSION (BIT(STATE_READY) | BIT(STATE_MAIL) | BIT(STATE_RCPT) | BIT(STATE_CHUNKS))
#define ANYWHERE   (BIT(STATE_NEW) | IN_SESSION)

/* moves[from]: states that may follow. */
static const unsigned moves[STATES_] = {
    [STATE_NEW] = BIT(STATE_NEW) | BIT(STATE_READY) | BIT(STATE_BDAT) | BIT(STATE_CLOSED),
    [STATE_READY] =
        BIT(STATE_NEW) | BIT(STATE_READY) | BIT(STATE_MAIL) | BIT(STATE_BDAT) | BIT(STATE_CLOSED),
    [STATE_MAIL] =
        BIT(STATE_READY) | BIT(STATE_RCPT) | BIT(STATE_BDAT) | BIT(STATE_NEW) | BIT(STATE_CLOSED),
    [STATE_RCPT] =
        BIT(STATE_READY) | BIT(STATE_DATA) | BIT(STATE_BDAT) | BIT(STATE_NEW) | BIT(STATE_CLOSED),
    [STATE_DATA] = BIT(STATE_READY) | BIT(STATE_CLOSED),
    [STATE_BDAT] =
        BIT(STATE_NEW) | BIT(STATE_READY) | BIT(STATE_MAIL) | BIT(STATE_CHUNKS) | BIT(STATE_CLOSED),
    [STATE_CHUNKS] = BIT(STATE_READY) | BIT(STATE_BDAT) | BIT(STATE_NEW) | BIT(STATE_CLOSED),
};

struct smtp_service {
    struct session_service service; /* first */
    const struct smtp_dialect *dialect;
    struct smtp_settings settings;
    void *context;
    char *hostname;
};

struct smtp_session {
    struct session base; /* first */
    struct smtp_service *service;
    enum state state;
    struct smtp_transaction t;
    char helo[256];
    struct smtp_dots dots;
    uint64_t chunk_left; /* octets of the BDAT chunk still to come */
    bool chunk_last;
    bool chunk_dropped; /* it was refused; its octets are read all the same (RFC 3030 section 2) */
    enum state chunk_back; /* where a dropped one leads back to */
    unsigned bad_in_row;
    bool greeted, shutdown, too_long; /* too_long: dropping the rest of an overlong line */
};

static _Atomic uint64_t next_id = 1;

/* --- small things --------------------------------------------------------------------------------
 */

static void set_state(struct smtp_session *s, enum state to)
{
    struct log_line l;

    if (!(moves[s->state] & BIT(to))) {
        log_text(LOG_ERROR_, "smtp.state", "impossible move from %s to %s", state_names[s->state],
                 state_names[to]);
        s->base.want.close = true;
        to = STATE_CLOSED;
    }
    log_begin(&l, LOG_DEBUG_, "smtp.state");
    log_num(&l, "session", (int64_t)s->base.id);
    log_str(&l, "from", slice_str(state_names[s->state]));
    log_str(&l, "to", slice_str(state_names[to]));
    log_end(&l);
    s->state = to;
}

void smtp_reply_set(struct smtp_reply *r, unsigned code, const char *enhanced, const char *fmt, ...)
{
    va_list ap;

    r->code = code;
    r->enhanced = enhanced;
    va_start(ap, fmt);
    vsnprintf(r->text, sizeof r->text, fmt, ap);
    va_end(ap);
    /* texts may quote what came from outside */
    for (char *p = r->text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

static void send_reply(struct smtp_session *s, const struct smtp_reply *r)
{
    buf_printf(&s->base.out, "%03u ", r->code);
    if (r->enhanced)
        buf_printf(&s->base.out, "%s ", r->enhanced);
    buf_add_str(&s->base.out, r->text);
    buf_add_str(&s->base.out, "\r\n");
}

#define REPLY(s, code, enhanced, ...)                                                              \
    do {                                                                                           \
        struct smtp_reply reply_;                                                                  \
        smtp_reply_set(&reply_, code, enhanced, __VA_ARGS__);                                      \
        send_reply(s, &reply_);                                                                    \
    } while (0)

/* A command that was wrong. Too many in a row: the other side does not speak our language. */
static void bad(struct smtp_session *s, unsigned code, const char *enhanced, const char *text)
{
    if (++s->bad_in_row > s->service->settings.bad_commands) {
        REPLY(s, 421, "4.7.0", "%s too many errors", s->service->settings.hostname);
        s->base.want.close = true;
        return;
    }
    REPLY(s, code, enhanced, "%s", text);
}

static void transaction_end(struct smtp_session *s)
{
    if (s->t.content)
        s->service->dialect->ops->abort(s->service->context, &s->t);
    VEC_DONE(&s->t.recipients);
    arena_done(&s->t.arena);
    s->t = (struct smtp_transaction){0};
}

static void transaction_begin(struct smtp_session *s)
{
    bool tls = s->base.peer.tls;
    const char *name = s->service->dialect->name;

    transaction_end(s);
    s->t.begun = true;
    s->t.peer = &s->base.peer;
    s->t.settings = &s->service->settings;
    s->t.helo = s->helo;
    s->t.with = arena_printf(&s->t.arena, "%s%s", name, tls ? "S" : "");
}

/* --- hello ---------------------------------------------------------------------------------------
 */

static void say_extensions(struct smtp_session *s)
{
    const struct smtp_settings *set = &s->service->settings;

    buf_printf(&s->base.out, "250-%s\r\n", set->hostname);
    buf_add_str(&s->base.out, "250-PIPELINING\r\n");
    buf_printf(&s->base.out, "250-SIZE %llu\r\n", (unsigned long long)set->message_max);
    if (set->starttls && !s->base.peer.tls)
        buf_add_str(&s->base.out, "250-STARTTLS\r\n");
    buf_add_str(&s->base.out, "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-BINARYMIME\r\n"
                              "250-CHUNKING\r\n250 SMTPUTF8\r\n");
}

static void cmd_hello(struct smtp_session *s, struct slice rest)
{
    ssize_t blank = slice_find(rest, ' ');
    struct slice name = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);

    if (!name.n || name.n >= sizeof s->helo || !utf8_valid(name)) {
        bad(s, 501, "5.5.4", "A host name or address is missing or malformed");
        return;
    }
    transaction_end(s);
    snprintf(s->helo, sizeof s->helo, "%.*s", SLICE_FMT(name));
    set_state(s, STATE_READY);
    say_extensions(s);
}

static void cmd_helo(struct smtp_session *s, struct slice rest)
{
    if (!s->service->dialect->helo) {
        bad(s, 500, "5.5.1", "This is LMTP: say LHLO");
        return;
    }
    cmd_hello(s, rest);
}

/* --- MAIL and RCPT
 * --------------------------------------------------------------------------------- */

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] & 0x80)
            return false;
    return true;
}

/* Parameter handlers: true: fine; false: a reply has been sent. */
static bool param_size(struct smtp_session *s, struct slice value)
{
    if (!slice_to_u64(value, INT64_MAX, &s->t.size)) {
        bad(s, 501, "5.5.4", "SIZE needs a number");
        return false;
    }
    if (s->t.size > s->service->settings.message_max) {
        REPLY(s, 552, "5.3.4", "A message may have %llu octets here",
              (unsigned long long)s->service->settings.message_max);
        return false;
    }
    return true;
}

static bool param_body(struct smtp_session *s, struct slice value)
{
    static const struct {
        const char *name;
        enum smtp_body body;
    } bodies[] = {
        {"7BIT", SMTP_7BIT}, {"8BITMIME", SMTP_8BITMIME}, {"BINARYMIME", SMTP_BINARYMIME}};

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (slice_ieq(value, slice_str(bodies[i].name))) {
            s->t.body = bodies[i].body;
            return true;
        }
    }
    bad(s, 501, "5.5.4", "BODY is 7BIT, 8BITMIME or BINARYMIME");
    return false;
}

static bool param_utf8(struct smtp_session *s, struct slice value)
{
    if (value.n) {
        bad(s, 501, "5.5.4", "SMTPUTF8 has no value");
        return false;
    }
    s->t.utf8 = true;
    s->t.with = arena_printf(&s->t.arena, "UTF8%s%s", s->service->dialect->name,
                             s->base.peer.tls ? "S" : "");
    return true;
}

static const struct param_row {
    const char *keyword;
    bool (*handle)(struct smtp_session *s, struct slice value);
} mail_params[] = {
    {"SIZE", param_size},     /* RFC 1870 */
    {"BODY", param_body},     /* RFC 6152, RFC 3030 */
    {"SMTPUTF8", param_utf8}, /* RFC 6531 */
};

static bool handle_param(struct smtp_session *s, const struct smtp_param *param,
                         const struct param_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(param->keyword, slice_str(rows[i].keyword)))
            return rows[i].handle(s, param->value);
    bad(s, 555, "5.5.4", "A parameter is not known or not offered");
    return false;
}

/* The text of a path that is to be kept: valid UTF-8, and ASCII unless the transaction is SMTPUTF8.
 */
static bool check_address(struct smtp_session *s, struct slice address)
{
    if (is_ascii(address))
        return true;
    if (s->t.utf8 && utf8_valid(address))
        return true;
    bad(s, 553, "5.6.7", "An address outside ASCII needs SMTPUTF8 and must be UTF-8");
    return false;
}

static void cmd_mail(struct smtp_session *s, struct slice rest)
{
    struct smtp_path path;
    int res = smtp_path_parse(rest, S("FROM:"), &path);

    if (res < 0) {
        bad(s, 501, "5.5.2", "Say MAIL FROM:<address>");
        return;
    }
    transaction_begin(s);
    for (size_t i = 0; i < path.n_params; i++) {
        if (handle_param(s, &path.params[i], mail_params, ARRAY_LEN(mail_params)))
            continue;
        transaction_end(s);
        return;
    }
    if (!check_address(s, path.address)) {
        transaction_end(s);
        return;
    }
    s->t.sender = arena_str(&s->t.arena, path.address);
    set_state(s, STATE_MAIL);
    REPLY(s, 250, "2.1.0", "Sender accepted");
}

static void cmd_rcpt(struct smtp_session *s, struct slice rest)
{
    struct smtp_recipient recipient = {0};
    struct smtp_reply reply;
    struct smtp_path path;

    if (smtp_path_parse(rest, S("TO:"), &path) < 0 || !path.address.n) {
        bad(s, 501, "5.5.2", "Say RCPT TO:<address>");
        return;
    }
    /* refused ones count too: they have cost a lookup, and memory until the transaction ends */
    if (s->t.recipients.n >= s->service->settings.recipients_max ||
        s->t.refused >= s->service->settings.recipients_max) {
        REPLY(s, 452, "4.5.3", "Too many recipients in one transaction: send again for the rest");
        return;
    }
    if (path.n_params) {
        bad(s, 555, "5.5.4", "A parameter is not known or not offered");
        return;
    }
    if (!check_address(s, path.address))
        return;
    recipient.address = arena_str(&s->t.arena, path.address);
    smtp_reply_set(&reply, 250, "2.1.5", "Recipient accepted");
    if (s->service->dialect->ops->rcpt(s->service->context, &s->t, &recipient, &reply) == 0) {
        *VEC_PUSH(&s->t.recipients) = recipient;
        if (s->state == STATE_MAIL)
            set_state(s, STATE_RCPT);
    } else {
        s->t.refused++;
    }
    send_reply(s, &reply);
}

/* --- content -------------------------------------------------------------------------------------
 */

static void log_result(struct smtp_session *s, const struct smtp_recipient *r, int64_t ms)
{
    struct log_line l;

    log_begin(&l, LOG_INFO_, "delivery");
    log_str(&l, "protocol", slice_str(s->service->dialect->name));
    log_num(&l, "session", (int64_t)s->base.id);
    log_str(&l, "remote", slice_str(s->base.peer.remote));
    log_str(&l, "sender", slice_str(s->t.sender));
    log_str(&l, "recipient", slice_str(r->address));
    log_num(&l, "octets", (int64_t)s->t.received);
    log_num(&l, "reply", r->reply.code);
    if (r->reply.code >= 300)
        log_str(&l, "reason", slice_str(r->reply.text));
    log_num(&l, "ms", ms);
    log_end(&l);
}

static void content_end(struct smtp_session *s)
{
    int64_t begun = clock_mono_ms();

    if (s->t.failed) {
        for (size_t i = 0; i < s->t.recipients.n; i++)
            s->t.recipients.items[i].reply = s->t.failure;
    } else {
        s->service->dialect->ops->finish(s->service->context, &s->t);
    }
    for (size_t i = 0; i < s->t.recipients.n; i++) {
        struct smtp_recipient *r = &s->t.recipients.items[i];

        log_result(s, r, clock_mono_ms() - begun);
        if (i == 0 || s->service->dialect->reply_per_recipient)
            send_reply(s, &r->reply);
    }
    transaction_end(s);
    set_state(s, STATE_READY);
}

static int content_begin(struct smtp_session *s)
{
    struct smtp_reply reply;
    int res = s->service->dialect->ops->begin(s->service->context, &s->t, &reply);

    if (res < 0) {
        s->t.failed = true;
        s->t.failure = reply;
    }
    return res;
}

static void content_fail(struct smtp_session *s, const struct smtp_reply *reply)
{
    s->t.failed = true;
    s->t.failure = *reply;
    if (s->t.content)
        s->service->dialect->ops->abort(s->service->context, &s->t);
}

/* Never fails towards the reader of the input: what goes wrong is kept for the reply. */
static int content_feed(void *ctx, struct slice bytes)
{
    struct smtp_session *s = ctx;
    struct smtp_reply reply;

    s->t.received += bytes.n;
    if (s->t.failed)
        return 0;
    if (s->t.received > s->service->settings.message_max) {
        smtp_reply_set(&reply, 552, "5.3.4", "A message may have %llu octets here",
                       (unsigned long long)s->service->settings.message_max);
        content_fail(s, &reply);
        return 0;
    }
    if (s->service->dialect->ops->feed(s->service->context, &s->t, bytes, &reply) < 0)
        content_fail(s, &reply);
    return 0;
}

static void cmd_data(struct smtp_session *s, struct slice rest)
{
    struct smtp_reply reply;

    if (rest.n) {
        bad(s, 501, "5.5.4", "DATA has no argument");
        return;
    }
    if (s->t.body == SMTP_BINARYMIME) {
        /* RFC 3030 section 3: BINARYMIME cannot be used with DATA */
        bad(s, 503, "5.5.1", "BINARYMIME needs BDAT");
        return;
    }
    if (content_begin(s) < 0) {
        reply = s->t.failure;
        transaction_end(s);
        set_state(s, STATE_READY);
        send_reply(s, &reply);
        return;
    }
    s->dots = (struct smtp_dots){0};
    set_state(s, STATE_DATA);
    REPLY(s, 354, NULL, "Send the message, end with <CRLF>.<CRLF>");
}

static void cmd_bdat(struct smtp_session *s, struct slice rest)
{
    if (smtp_bdat_parse(rest, &s->chunk_left, &s->chunk_last) < 0) {
        /* where the chunk ends is not known, so neither is where the next command begins */
        REPLY(s, 501, "5.5.4", "Say BDAT size [LAST]");
        s->base.want.close = true;
        return;
    }
    s->chunk_back = s->state;
    s->chunk_dropped = s->state != STATE_RCPT && s->state != STATE_CHUNKS;
    if (s->state == STATE_RCPT)
        (void)!content_begin(s);
    set_state(s, STATE_BDAT);
}

static void chunk_end(struct smtp_session *s)
{
    if (s->chunk_dropped) {
        set_state(s, s->chunk_back);
        bad(s, 503, "5.5.1", "No valid recipients");
        return;
    }
    if (s->chunk_last) {
        content_end(s);
        return;
    }
    set_state(s, STATE_CHUNKS);
    REPLY(s, 250, "2.0.0", "%llu octets so far", (unsigned long long)s->t.received);
}

/* --- the rest
 * -------------------------------------------------------------------------------------- */

static void cmd_rset(struct smtp_session *s, struct slice rest)
{
    transaction_end(s);
    if (s->state != STATE_NEW)
        set_state(s, STATE_READY);
    REPLY(s, 250, "2.0.0", "Forgotten");
}

static void cmd_noop(struct smtp_session *s, struct slice rest)
{
    REPLY(s, 250, "2.0.0", "Nothing done");
}

static void cmd_vrfy(struct smtp_session *s, struct slice rest)
{
    REPLY(s, 252, "2.5.0", "Try to deliver to it");
}

static void cmd_help(struct smtp_session *s, struct slice rest)
{
    REPLY(s, 214, "2.0.0", "%s MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT",
          s->service->dialect->hello);
}

static void cmd_quit(struct smtp_session *s, struct slice rest)
{
    transaction_end(s);
    set_state(s, STATE_CLOSED);
    REPLY(s, 221, "2.0.0", "%s closing", s->service->settings.hostname);
    s->base.want.close = true;
}

static void cmd_starttls(struct smtp_session *s, struct slice rest)
{
    if (rest.n) {
        bad(s, 501, "5.5.4", "STARTTLS has no argument");
        return;
    }
    if (!s->service->settings.starttls || s->base.peer.tls) {
        bad(s, 503, "5.5.1", s->base.peer.tls ? "TLS is in use already" : "TLS is not offered");
        return;
    }
    transaction_end(s);
    REPLY(s, 220, "2.0.0", "Begin TLS");
    s->base.want.starttls = true;
}

static const struct command {
    const char *verb;
    unsigned states;
    void (*handle)(struct smtp_session *s, struct slice rest);
    const char *elsewhere; /* what is said in other states (503 5.5.1) */
} commands[] = {
    {"HELO", ANYWHERE, cmd_helo, NULL},
    {"MAIL", BIT(STATE_READY), cmd_mail, "Say hello first, and one MAIL only in a transaction"},
    {"RCPT", BIT(STATE_MAIL) | BIT(STATE_RCPT), cmd_rcpt, "MAIL comes before RCPT"},
    {"DATA", BIT(STATE_RCPT), cmd_data, "No valid recipients"}, /* RFC 2033 section 4.2 */
    {"BDAT", ANYWHERE, cmd_bdat, NULL},
    {"RSET", ANYWHERE, cmd_rset, NULL},
    {"NOOP", ANYWHERE, cmd_noop, NULL},
    {"VRFY", IN_SESSION, cmd_vrfy, "Say hello first"},
    {"HELP", ANYWHERE, cmd_help, NULL},
    {"QUIT", ANYWHERE, cmd_quit, NULL},
    {"STARTTLS", BIT(STATE_NEW) | BIT(STATE_READY), cmd_starttls, "Not within a transaction"},
};

static void run_command(struct smtp_session *s, struct slice line)
{
    struct smtp_line cmd;

    if (smtp_line_parse(line, &cmd) < 0) {
        bad(s, 500, "5.5.2", "That is no command");
        return;
    }
    if (slice_ieq(cmd.verb, slice_str(s->service->dialect->hello))) {
        s->bad_in_row = 0;
        cmd_hello(s, cmd.rest);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *row = &commands[i];
        unsigned before = s->bad_in_row;

        if (!slice_ieq(cmd.verb, slice_str(row->verb)))
            continue;
        if (!(row->states & BIT(s->state))) {
            bad(s, 503, "5.5.1", row->elsewhere);
            return;
        }
        row->handle(s, cmd.rest);
        if (s->bad_in_row == before)
            s->bad_in_row = 0;
        return;
    }
    bad(s, 500, "5.5.1", "Unknown command");
}

/* --- the step
 * -------------------------------------------------------------------------------------- */

/* Length of the first line with its CRLF, 0: not whole yet. A lone CR or LF ends no line. */
static size_t line_length(struct slice in)
{
    ssize_t at = slice_search(in, S("\r\n"));

    return at < 0 ? 0 : (size_t)at + 2;
}

/* An overlong line is answered once, when its end has come. */
static bool step_line(struct smtp_session *s)
{
    struct slice in = buf_slice(&s->base.in);
    size_t n = line_length(in);

    if (!n) {
        if (in.n > SMTP_LINE_MAX) {
            s->too_long = true;
            buf_consume(&s->base.in, in.n - 1); /* the last byte may be the CR of the CRLF */
        }
        return false;
    }
    if (s->too_long || n > SMTP_LINE_MAX)
        bad(s, 500, "5.5.6", "The line is too long");
    else
        run_command(s, slice_sub(in, 0, n - 2));
    s->too_long = false;
    buf_consume(&s->base.in, n);
    return true;
}

static bool step_data(struct smtp_session *s)
{
    size_t used = 0;
    int res;

    if (!s->base.in.n)
        return false;
    res = smtp_dots_feed(&s->dots, buf_slice(&s->base.in), &used, content_feed, s);
    buf_consume(&s->base.in, used);
    if (res <= 0)
        return false;
    content_end(s);
    return true;
}

static bool step_chunk(struct smtp_session *s)
{
    size_t n = s->chunk_left < s->base.in.n ? (size_t)s->chunk_left : s->base.in.n;

    if (n && !s->chunk_dropped)
        (void)!content_feed(s, slice_sub(buf_slice(&s->base.in), 0, n));
    buf_consume(&s->base.in, n);
    s->chunk_left -= n;
    if (s->chunk_left)
        return false;
    chunk_end(s);
    return true;
}

static bool step_once(struct smtp_session *s)
{
    if (s->state == STATE_DATA)
        return step_data(s);
    if (s->state == STATE_BDAT)
        return step_chunk(s);
    return step_line(s);
}

static bool ready(struct session *base)
{
    struct smtp_session *s = (struct smtp_session *)base;

    if (s->state == STATE_DATA)
        return base->in.n > 0;
    if (s->state == STATE_BDAT)
        return base->in.n > 0 || s->chunk_left == 0;
    return line_length(buf_slice(&base->in)) || base->in.n > SMTP_LINE_MAX;
}

static void say_goodbye(struct smtp_session *s, const char *enhanced, const char *why)
{
    REPLY(s, 421, enhanced, "%s %s", s->service->settings.hostname, why);
    s->base.want.close = true;
}

static void greet(struct smtp_session *s)
{
    REPLY(s, 220, NULL, "%s %s Eider ready", s->service->settings.hostname,
          s->service->dialect->name);
    s->greeted = true;
}

static void set_wants(struct smtp_session *s)
{
    struct session_want *w = &s->base.want;
    bool in_content = s->state == STATE_DATA || s->state == STATE_BDAT;

    w->busy = in_content || s->state == STATE_CHUNKS;
    w->input = !w->close && !w->starttls && !w->output;
    w->input_max = INPUT_MAX;
    w->deadline_ms = clock_mono_ms() + s->service->settings.timeout_ms;
    if (s->shutdown && !w->busy && !w->close)
        say_goodbye(s, "4.3.2", "is shutting down");
}

static void step(struct session *base, unsigned events)
{
    struct smtp_session *s = (struct smtp_session *)base;

    base->want.output = false;
    if (!s->greeted)
        greet(s);
    if (events & SESSION_TLS) {
        /* RFC 3207 section 4.2: what was said before is forgotten */
        base->want.starttls = false;
        s->helo[0] = '\0';
        if (s->state != STATE_NEW)
            set_state(s, STATE_NEW);
    }
    if (events & SESSION_SHUTDOWN)
        s->shutdown = true;
    if (events & SESSION_DEADLINE && !(events & SESSION_INPUT)) {
        say_goodbye(s, "4.4.2", "heard nothing for too long");
    } else {
        while (!base->want.close && !base->want.starttls && base->out.n < SESSION_SLICE &&
               step_once(s))
            ;
    }
    base->want.output = base->out.n >= SESSION_SLICE;
    if (events & SESSION_EOF)
        base->want.close = true;
    set_wants(s);
}

static void session_free(struct session *base)
{
    struct smtp_session *s = (struct smtp_session *)base;

    transaction_end(s);
    buf_done(&base->in);
    buf_done(&base->out);
    free(s);
}

static const struct session_ops smtp_session_ops = {
    .name = "smtp", .ready = ready, .step = step, .free = session_free};
static const struct session_ops lmtp_session_ops = {
    .name = "lmtp", .ready = ready, .step = step, .free = session_free};

static struct session *service_open(struct session_service *base, const struct session_peer *peer)
{
    struct smtp_service *service = (struct smtp_service *)base;
    struct smtp_session *s = NEW(struct smtp_session);

    s->service = service;
    s->base.ops = service->dialect->reply_per_recipient ? &lmtp_session_ops : &smtp_session_ops;
    s->base.in = buf_make(INPUT_MAX);
    s->base.out = buf_make(OUTPUT_MAX);
    s->base.peer = *peer;
    s->base.id = atomic_fetch_add(&next_id, 1);
    s->base.want.input_max = INPUT_MAX;
    return &s->base;
}

struct session_service *smtp_service_new(const struct smtp_dialect *dialect,
                                         const struct smtp_settings *settings, void *context)
{
    struct smtp_service *service = NEW(struct smtp_service);

    service->dialect = dialect;
    service->settings = *settings;
    service->hostname = mem_strdup(settings->hostname);
    service->settings.hostname = service->hostname;
    service->context = context;
    service->service.name = dialect->name;
    service->service.open = service_open;
    service->service.context = service;
    return &service->service;
}

void smtp_service_free(struct session_service *base)
{
    struct smtp_service *service = (struct smtp_service *)base;

    if (!service)
        return;
    free(service->hostname);
    free(service);
}

void *smtp_service_context(struct session_service *base)
{
    return ((struct smtp_service *)base)->context;
}
