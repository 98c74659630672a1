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
 * STANDARDS: RFC 5321, RFC 2033 (LMTP), RFC 6409 (submission), RFC 2034 and 3463 (enhanced codes),
 * RFC 2920, RFC 3030 (CHUNKING, BINARYMIME), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 4468 (BURL);
 * params.c names the rest.
 *
 * To add a command: a row in `commands`, with the extension that it belongs to. To add an
 * extension: params.c.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/log.h"
#include "protocols/smtp/impl.h"

#define INPUT_MAX  ((size_t)256 << 10) /* bytes taken in before a step must have handled some */
#define OUTPUT_MAX ((size_t)4 << 20)

static const char *const state_names[STATES_] = {"new",  "ready", "auth", "held",   "mail",
                                                 "rcpt", "data",  "bdat", "chunks", "closed"};

#define BIT(state) (1u << (state))
#define IN_SESSION (BIT(STATE_READY) | BIT(STATE_MAIL) | BIT(STATE_RCPT) | BIT(STATE_CHUNKS))
#define ANYWHERE   (BIT(STATE_NEW) | IN_SESSION)

/* moves[from]: states that may follow. */
static const unsigned moves[STATES_] = {
    [STATE_NEW] = BIT(STATE_NEW) | BIT(STATE_READY) | BIT(STATE_BDAT) | BIT(STATE_CLOSED),
    [STATE_READY] = BIT(STATE_NEW) | BIT(STATE_READY) | BIT(STATE_AUTH) | BIT(STATE_MAIL) |
                    BIT(STATE_BDAT) | BIT(STATE_CLOSED),
    [STATE_AUTH] = BIT(STATE_READY) | BIT(STATE_HELD) | BIT(STATE_CLOSED),
    [STATE_HELD] = BIT(STATE_READY) | BIT(STATE_CLOSED),
    [STATE_MAIL] =
        BIT(STATE_READY) | BIT(STATE_RCPT) | BIT(STATE_BDAT) | BIT(STATE_NEW) | BIT(STATE_CLOSED),
    [STATE_RCPT] = BIT(STATE_READY) | BIT(STATE_DATA) | BIT(STATE_BDAT) | BIT(STATE_CHUNKS) |
                   BIT(STATE_NEW) | BIT(STATE_CLOSED),
    [STATE_DATA] = BIT(STATE_READY) | BIT(STATE_CLOSED),
    [STATE_BDAT] =
        BIT(STATE_NEW) | BIT(STATE_READY) | BIT(STATE_MAIL) | BIT(STATE_CHUNKS) | BIT(STATE_CLOSED),
    [STATE_CHUNKS] =
        BIT(STATE_READY) | BIT(STATE_BDAT) | BIT(STATE_CHUNKS) | BIT(STATE_NEW) | BIT(STATE_CLOSED),
};

static _Atomic uint64_t next_id = 1;

/* --- small things --------------------------------------------------------------------------------
 */

void smtp_set_state(struct smtp_session *s, enum smtp_state to)
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

/* Texts may quote what came from outside: they hold no control characters. */
static void set_text(char *text, size_t size, const char *fmt, va_list ap)
{
    vsnprintf(text, size, fmt, ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

void smtp_reply_set(struct smtp_reply *r, unsigned code, const char *enhanced, const char *fmt, ...)
{
    va_list ap;

    r->code = code;
    r->enhanced = enhanced;
    va_start(ap, fmt);
    set_text(r->text, sizeof r->text, fmt, ap);
    va_end(ap);
}

void smtp_reply_more(struct smtp_reply *r, const char *fmt, ...)
{
    size_t n = strlen(r->text);
    va_list ap;

    if (n + 2 > sizeof r->text)
        return;
    r->text[n] = '\n';
    va_start(ap, fmt);
    set_text(r->text + n + 1, sizeof r->text - n - 1, fmt, ap);
    va_end(ap);
}

void smtp_send(struct smtp_session *s, const struct smtp_reply *r)
{
    struct slice rest = slice_str(r->text);
    bool last = false;

    while (!last) {
        ssize_t end = slice_find(rest, '\n');

        last = end < 0;
        buf_printf(&s->base.out, "%03u%c", r->code, last ? ' ' : '-');
        if (r->enhanced)
            buf_printf(&s->base.out, "%s ", r->enhanced);
        buf_add_slice(&s->base.out, slice_sub(rest, 0, last ? rest.n : (size_t)end));
        buf_add_str(&s->base.out, "\r\n");
        rest = slice_skip(rest, (size_t)end + 1);
    }
}

void smtp_bad(struct smtp_session *s, unsigned code, const char *enhanced, const char *text)
{
    if (++s->bad_in_row > s->service->settings.bad_commands)
        smtp_goodbye(s, "4.7.0", "too many errors");
    else
        SMTP_REPLY(s, code, enhanced, "%s", text);
}

void smtp_goodbye(struct smtp_session *s, const char *enhanced, const char *why)
{
    SMTP_REPLY(s, 421, enhanced, "%s %s", s->service->settings.hostname, why);
    s->base.want.close = true;
}

void smtp_transaction_end(struct smtp_session *s)
{
    if (s->t.content)
        s->service->dialect->ops->abort(s->service->context, &s->t);
    VEC_DONE(&s->t.recipients);
    arena_done(&s->t.arena);
    s->t = (struct smtp_transaction){0};
}

static void transaction_begin(struct smtp_session *s)
{
    smtp_transaction_end(s);
    s->t = (struct smtp_transaction){
        .begun = true,
        .envid = "",
        .solicit = "",
        .peer = &s->base.peer,
        .settings = &s->service->settings,
        .helo = s->helo,
        .session = s->base.id,
        .user = s->logged_in ? &s->user : NULL,
        .client = s->client,
    };
}

/* "ESMTPSA" (RFC 3848); HELO is "SMTP", which has no longer forms. */
static void name_with(struct smtp_session *s)
{
    const struct smtp_dialect *dialect = s->service->dialect;

    s->t.with = !s->extended ? "SMTP"
                             : arena_printf(&s->t.arena, "%s%s%s",
                                            s->t.utf8 ? dialect->with_utf8 : dialect->with,
                                            s->base.peer.tls ? "S" : "", s->logged_in ? "A" : "");
}

/* --- hello ---------------------------------------------------------------------------------------
 */

static bool hello(struct smtp_session *s, struct slice rest)
{
    ssize_t blank = slice_find(rest, ' ');
    struct slice name = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);

    if (!name.n || name.n >= sizeof s->helo || !utf8_valid(name)) {
        smtp_bad(s, 501, "5.5.4", "A host name or address is missing or malformed");
        return false;
    }
    smtp_transaction_end(s);
    snprintf(s->helo, sizeof s->helo, "%.*s", SLICE_FMT(name));
    smtp_set_state(s, STATE_READY);
    return true;
}

static void cmd_hello(struct smtp_session *s, struct slice rest)
{
    if (!hello(s, rest))
        return;
    s->extended = true;
    smtp_say_extensions(s);
}

static void cmd_helo(struct smtp_session *s, struct slice rest)
{
    if (!hello(s, rest))
        return;
    s->extended = false;
    SMTP_REPLY(s, 250, NULL, "%s", s->service->settings.hostname);
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

/* The text of a path that is to be kept: valid UTF-8, and ASCII unless the transaction is SMTPUTF8.
 */
static bool check_address(struct smtp_session *s, struct slice address)
{
    if (is_ascii(address))
        return true;
    if (s->t.utf8 && utf8_valid(address))
        return true;
    smtp_bad(s, 553, "5.6.7", "An address outside ASCII needs SMTPUTF8 and must be UTF-8");
    return false;
}

/* Parameters and address are fine; may there be mail from it? */
static bool begin_mail(struct smtp_session *s, const struct smtp_path *path,
                       struct smtp_reply *reply)
{
    const struct smtp_ops *ops = s->service->dialect->ops;

    if (!smtp_take_params(s, path, NULL) || !check_address(s, path->address))
        return false;
    s->t.sender = arena_str(&s->t.arena, path->address);
    name_with(s);
    if (ops->mail && ops->mail(s->service->context, &s->t, reply) < 0) {
        smtp_send(s, reply);
        return false;
    }
    return true;
}

/* RFC 6710 section 4.1: "250 X.3.6" says that the priority was lowered. */
static void limit_priority(struct smtp_session *s, struct smtp_reply *reply)
{
    int max = s->service->settings.priority_max;

    if (s->t.priority <= max)
        return;
    s->t.priority = max;
    smtp_reply_set(reply, 250, "2.3.6", "%d is the priority of the message", max);
}

static void cmd_mail(struct smtp_session *s, struct slice rest)
{
    unsigned max = s->service->settings.transactions_max;
    struct smtp_reply reply;
    struct smtp_path path;

    if (smtp_path_parse(rest, S("FROM:"), &path) < 0) {
        smtp_bad(s, 501, "5.5.2", "Say MAIL FROM:<address>");
        return;
    }
    if (max && s->transactions >= max) {
        smtp_goodbye(s, "4.5.3", "takes no more messages on one connection");
        return;
    }
    transaction_begin(s);
    smtp_reply_set(&reply, 250, "2.1.0", "Sender accepted");
    if (!begin_mail(s, &path, &reply)) {
        smtp_transaction_end(s);
        return;
    }
    limit_priority(s, &reply);
    s->transactions++;
    smtp_set_state(s, STATE_MAIL);
    smtp_send(s, &reply);
}

static void cmd_rcpt(struct smtp_session *s, struct slice rest)
{
    struct smtp_recipient recipient = {.orcpt = ""};
    struct smtp_reply reply;
    struct smtp_path path;

    if (smtp_path_parse(rest, S("TO:"), &path) < 0 || !path.address.n) {
        smtp_bad(s, 501, "5.5.2", "Say RCPT TO:<address>");
        return;
    }
    /* refused ones count too: they have cost a lookup, and memory until the transaction ends */
    if (s->t.recipients.n >= s->service->settings.recipients_max ||
        s->t.refused >= s->service->settings.recipients_max) {
        SMTP_REPLY(s, 452, "4.5.3",
                   "Too many recipients in one transaction: send again for the rest");
        return;
    }
    if (!smtp_take_params(s, &path, &recipient) || !check_address(s, path.address))
        return;
    recipient.address = arena_str(&s->t.arena, path.address);
    smtp_reply_set(&reply, 250, "2.1.5", "Recipient accepted");
    if (s->service->dialect->ops->rcpt(s->service->context, &s->t, &recipient, &reply) == 0) {
        *VEC_PUSH(&s->t.recipients) = recipient;
        if (s->state == STATE_MAIL)
            smtp_set_state(s, STATE_RCPT);
    } else {
        s->t.refused++;
    }
    smtp_send(s, &reply);
}

/* --- the rest
 * -------------------------------------------------------------------------------------- */

static void cmd_rset(struct smtp_session *s, struct slice rest)
{
    smtp_transaction_end(s);
    if (s->state != STATE_NEW)
        smtp_set_state(s, STATE_READY);
    SMTP_REPLY(s, 250, "2.0.0", "Forgotten");
}

static void cmd_noop(struct smtp_session *s, struct slice rest)
{
    SMTP_REPLY(s, 250, "2.0.0", "Nothing done");
}

static void cmd_vrfy(struct smtp_session *s, struct slice rest)
{
    SMTP_REPLY(s, 252, "2.5.0", "Try to deliver to it");
}

static void cmd_quit(struct smtp_session *s, struct slice rest)
{
    smtp_transaction_end(s);
    smtp_set_state(s, STATE_CLOSED);
    SMTP_REPLY(s, 221, "2.0.0", "%s closing", s->service->settings.hostname);
    s->base.want.close = true;
}

static void cmd_starttls(struct smtp_session *s, struct slice rest)
{
    if (rest.n) {
        smtp_bad(s, 501, "5.5.4", "STARTTLS has no argument");
        return;
    }
    if (!s->service->settings.starttls || s->base.peer.tls) {
        smtp_bad(s, 503, "5.5.1",
                 s->base.peer.tls ? "TLS is in use already" : "TLS is not offered");
        return;
    }
    smtp_transaction_end(s);
    SMTP_REPLY(s, 220, "2.0.0", "Begin TLS");
    s->base.want.starttls = true;
}

static void cmd_help(struct smtp_session *s, struct slice rest);

static const struct command {
    const char *verb;
    unsigned extension; /* it is known where the dialect has this; 0: everywhere */
    unsigned states;
    bool login; /* where there is AUTH: only behind it (RFC 4954 section 4, 530) */
    void (*handle)(struct smtp_session *s, struct slice rest);
    const char *elsewhere; /* what is said in other states (503 5.5.1) */
} commands[] = {
    {"LHLO", SMTP_LHLO, ANYWHERE, false, cmd_hello, NULL},
    {"EHLO", SMTP_EHLO, ANYWHERE, false, cmd_hello, NULL},
    {"HELO", SMTP_HELO, ANYWHERE, false, cmd_helo, NULL},
    {"STARTTLS", SMTP_STARTTLS, BIT(STATE_NEW) | BIT(STATE_READY), false, cmd_starttls,
     "Not within a transaction"},
    {"AUTH", SMTP_AUTH, BIT(STATE_READY), false, smtp_cmd_auth,
     "Say hello first, and not within a transaction"},
    {"MAIL", 0, BIT(STATE_READY), true, cmd_mail,
     "Say hello first, and one MAIL only in a transaction"},
    {"RCPT", 0, BIT(STATE_MAIL) | BIT(STATE_RCPT), true, cmd_rcpt, "MAIL comes before RCPT"},
    /* RFC 2033 section 4.2 */
    {"DATA", 0, BIT(STATE_RCPT), true, smtp_cmd_data, "No valid recipients"},
    {"BDAT", SMTP_CHUNKING, ANYWHERE, false, smtp_cmd_bdat, NULL},
    {"BURL", SMTP_BURL, BIT(STATE_RCPT) | BIT(STATE_CHUNKS), true, smtp_cmd_burl,
     "No valid recipients"},
    {"RSET", 0, ANYWHERE, false, cmd_rset, NULL},
    {"NOOP", 0, ANYWHERE, false, cmd_noop, NULL},
    {"VRFY", 0, IN_SESSION, true, cmd_vrfy, "Say hello first"},
    {"HELP", 0, ANYWHERE, false, cmd_help, NULL},
    {"QUIT", 0, ANYWHERE, false, cmd_quit, NULL},
};

static bool offered(const struct smtp_session *s, const struct command *row)
{
    if (row->extension == SMTP_BURL && !*s->service->url_hosts)
        return false;
    return !row->extension || smtp_has(s, row->extension);
}

static void cmd_help(struct smtp_session *s, struct slice rest)
{
    CLEANUP(buf_done) struct buf verbs = buf_make(1000);
    struct smtp_reply reply;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (offered(s, &commands[i]))
            buf_printf(&verbs, "%s%s", verbs.n ? " " : "", commands[i].verb);
    smtp_reply_set(&reply, 214, "2.0.0", "This is Eider. Commands:");
    smtp_reply_more(&reply, "%s", buf_cstr(&verbs));
    smtp_send(s, &reply);
}

static const struct command *command_named(const struct smtp_session *s, struct slice verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (slice_ieq(verb, slice_str(commands[i].verb)) && offered(s, &commands[i]))
            return &commands[i];
    return NULL;
}

static void run_command(struct smtp_session *s, struct slice line)
{
    unsigned before = s->bad_in_row;
    const struct command *row;
    struct smtp_line cmd;

    if (smtp_line_parse(line, &cmd) < 0) {
        smtp_bad(s, 500, "5.5.2", "That is no command");
        return;
    }
    row = command_named(s, cmd.verb);
    if (!row)
        smtp_bad(s, 500, "5.5.1", "Unknown command");
    else if (row->login && smtp_has(s, SMTP_AUTH) && !s->logged_in)
        smtp_bad(s, 530, "5.7.0", "Log in first (AUTH)");
    else if (!(row->states & BIT(s->state)))
        smtp_bad(s, 503, "5.5.1", row->elsewhere);
    else
        row->handle(s, cmd.rest);
    if (s->bad_in_row == before)
        s->bad_in_row = 0;
}

/* --- the step
 * -------------------------------------------------------------------------------------- */

/* Length of the first line with its CRLF, 0: not whole yet. A lone CR or LF ends no line. */
static size_t line_length(struct slice in)
{
    ssize_t at = slice_search(in, S("\r\n"));

    return at < 0 ? 0 : (size_t)at + 2;
}

/* Lines are longer where a client may log in: tokens are. */
static size_t line_max(const struct smtp_session *s)
{
    return smtp_has(s, SMTP_AUTH) && !s->logged_in ? SMTP_AUTH_LINE_MAX : SMTP_LINE_MAX;
}

static void line_too_long(struct smtp_session *s)
{
    if (s->state == STATE_AUTH) {
        sasl_free(TAKE(s->sasl));
        smtp_set_state(s, STATE_READY);
    }
    smtp_bad(s, 500, "5.5.6", "The line is too long");
}

/* An overlong line is answered once, when its end has come. */
static bool step_line(struct smtp_session *s)
{
    struct slice in = buf_slice(&s->base.in);
    size_t n = line_length(in);

    if (!n) {
        if (in.n > line_max(s)) {
            s->too_long = true;
            buf_consume(&s->base.in, in.n - 1); /* the last byte may be the CR of the CRLF */
        }
        return false;
    }
    if (s->too_long || n > line_max(s))
        line_too_long(s);
    else if (s->state == STATE_AUTH)
        smtp_auth_line(s, slice_sub(in, 0, n - 2));
    else
        run_command(s, slice_sub(in, 0, n - 2));
    s->too_long = false;
    buf_consume(&s->base.in, n);
    return true;
}

static bool step_once(struct smtp_session *s)
{
    if (s->state == STATE_HELD)
        return false;
    if (s->state == STATE_DATA)
        return smtp_step_data(s);
    if (s->state == STATE_BDAT)
        return smtp_step_chunk(s);
    return step_line(s);
}

static bool ready(struct session *base)
{
    struct smtp_session *s = (struct smtp_session *)base;

    if (s->state == STATE_HELD)
        return false;
    if (s->state == STATE_DATA)
        return base->in.n > 0;
    if (s->state == STATE_BDAT)
        return base->in.n > 0 || s->chunk_left == 0;
    return line_length(buf_slice(&base->in)) || base->in.n > line_max(s);
}

static void greet(struct smtp_session *s)
{
    int64_t login = s->service->settings.login_timeout_ms;

    SMTP_REPLY(s, 220, NULL, "%s %s Eider ready", s->service->settings.hostname,
               s->service->dialect->name);
    s->login_until_ms = smtp_has(s, SMTP_AUTH) && login ? clock_mono_ms() + login : INT64_MAX;
    s->greeted = true;
}

static int64_t deadline(const struct smtp_session *s)
{
    int64_t idle = clock_mono_ms() + s->service->settings.timeout_ms;

    if (s->state == STATE_HELD)
        return s->held_until_ms;
    return s->logged_in ? idle : MIN(idle, s->login_until_ms);
}

static void set_wants(struct smtp_session *s)
{
    struct session_want *w = &s->base.want;
    bool in_content = s->state == STATE_DATA || s->state == STATE_BDAT;

    w->busy = in_content || s->state == STATE_CHUNKS || s->state == STATE_HELD;
    w->input = !w->close && !w->starttls && !w->output && s->state != STATE_HELD;
    w->input_max = INPUT_MAX;
    w->deadline_ms = deadline(s);
    if (s->shutdown && !w->busy && !w->close)
        smtp_goodbye(s, "4.3.2", "is shutting down");
}

/* RFC 3207 section 4.2: what was said before is forgotten */
static void begin_tls(struct smtp_session *s)
{
    s->base.want.starttls = false;
    s->helo[0] = '\0';
    smtp_logout(s);
    if (s->state != STATE_NEW)
        smtp_set_state(s, STATE_NEW);
}

/* The deadline has passed: of an answer held back, of the login, or of the client's silence. */
static bool expired(struct smtp_session *s, unsigned events)
{
    if (s->state == STATE_HELD) {
        smtp_auth_held(s);
        return false;
    }
    if (!s->logged_in && clock_mono_ms() >= s->login_until_ms)
        smtp_goodbye(s, "4.7.0", "was not told in time who you are");
    else if (events & SESSION_DEADLINE && !(events & SESSION_INPUT))
        smtp_goodbye(s, "4.4.2", "heard nothing for too long");
    else
        return false;
    return true;
}

static void step(struct session *base, unsigned events)
{
    struct smtp_session *s = (struct smtp_session *)base;

    base->want.output = false;
    if (!s->greeted)
        greet(s);
    if (events & SESSION_TLS)
        begin_tls(s);
    if (events & SESSION_SHUTDOWN)
        s->shutdown = true;
    if (!expired(s, events))
        while (!base->want.close && !base->want.starttls && base->out.n < SESSION_SLICE &&
               step_once(s))
            ;
    base->want.output = base->out.n >= SESSION_SLICE;
    if (events & SESSION_EOF)
        base->want.close = true;
    set_wants(s);
}

static void session_free(struct session *base)
{
    struct smtp_session *s = (struct smtp_session *)base;

    smtp_transaction_end(s);
    smtp_logout(s);
    buf_done(&base->in);
    buf_done(&base->out);
    free(s);
}

static struct session *service_open(struct session_service *base, const struct session_peer *peer)
{
    struct smtp_service *service = (struct smtp_service *)base;
    struct smtp_session *s = NEW(struct smtp_session);

    s->service = service;
    s->base.ops = &service->ops;
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
    service->ops = (struct session_ops){
        .name = dialect->log_name, .ready = ready, .step = step, .free = session_free};
    service->settings = *settings;
    service->hostname = mem_strdup(settings->hostname);
    service->settings.hostname = service->hostname;
    service->url_hosts = mem_strdup(settings->url_hosts ? settings->url_hosts : "");
    service->settings.url_hosts = service->url_hosts;
    service->no_solicit = mem_strdup(settings->no_solicit ? settings->no_solicit : "");
    service->settings.no_solicit = service->no_solicit;
    service->context = context;
    service->service.name = dialect->log_name;
    service->service.refusal = "421 4.3.2 Too many connections\r\n";
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
    free(service->url_hosts);
    free(service->no_solicit);
    free(service);
}

void *smtp_service_context(struct session_service *base)
{
    return ((struct smtp_service *)base)->context;
}
