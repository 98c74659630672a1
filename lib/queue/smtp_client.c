/* SPDX-License-Identifier: MPL-2.0 */
/* The conversation is a walk over the states below; `set_state` alone changes them, and
 * `reply_handlers` has the function that takes a reply in each.
 *
 *   GREETING  EHLO  HELO  STARTTLS  AUTH     until the server is ready
 *   IDLE                                     until there is a job
 *   ENVELOPE                                 MAIL and RCPT; with PIPELINING all are sent at once
 *   DATA  BODY  FINAL                        354, our bytes, the last word
 *   RSET                                     a transaction is given up; the connection is not
 *   QUIT  CLOSED
 *
 * A job with more recipients than the server takes at once is several transactions.
 *
 * Time-outs (RFC 5321 4.5.3.2) are parts of settings.timeout_ms, which is 5 minutes by default:
 * greeting, EHLO, MAIL, RCPT the whole of it (5 min), DATA 2/5 (2 min), each piece of the body 3/5
 * (3 min), the last word twice as long (10 min).
 *
 * What a server can cost: SMTP_ANSWER_MAX bytes of memory, one slice of output, its time-outs.
 */
#include "lib/queue/smtp_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/queue/crlf.h"
#include "lib/queue/smtp_answer.h"
#include "lib/queue/smtp_auth.h"

#define TIMEOUT_MS    300000
#define IDLE_MS       5000
#define MESSAGES_MAX  100
#define QUIT_MS       5000
#define RCPT_MAX      100 /* of a transaction, unless the server says otherwise (RFC 5321 4.5.3.1.8) */
#define RCPT_MAX_TOLD 1000 /* and whatever it says */
#define OUT_MAX       (SESSION_SLICE * 2)
#define READ_PIECE    ((size_t)64 << 10)

enum client_state {
    C_GREETING,
    C_EHLO,
    C_HELO,
    C_STARTTLS,
    C_AUTH,
    C_IDLE,
    C_ENVELOPE,
    C_DATA,
    C_BODY,
    C_FINAL,
    C_RSET,
    C_QUIT,
    C_CLOSED,
    C_STATES_
};

struct smtp_client {
    struct session session;
    struct smtp_owner *owner;
    struct smtp_client_settings settings; /* strings are ours */
    enum client_state state;
    struct smtp_offer offer;
    struct smtp_auth *auth;
    bool greeted;  /* the server has once been ready for mail */
    bool closing;  /* no further job */
    bool left;     /* the owner has been told */
    unsigned sent; /* jobs answered */

    struct transport_job *job; /* NULL: none */
    bool touched;              /* the server has answered something about it */
    bool mail_waits;           /* the reply to MAIL is still to come */
    bool mail_ok;
    size_t *batch; /* recipients of this transaction, as indices into the job's */
    bool *accepted;
    size_t batch_n, sent_n, replied_n, accepted_n;
    size_t chunks; /* BDAT: without an answer yet, the last one not counted */

    struct crlf crlf; /* the body on its way */
    uint64_t body_at;
    bool head_sent, line_start, binary;

    enum smtp_end end;
    unsigned end_code;
    char end_why[SMTP_ANSWER_TEXT + 100];
};

static struct smtp_client *client_of(struct session *s)
{
    return CONTAINER_OF(s, struct smtp_client, session);
}

/* ---- State ---- */

/* Which may follow which, as a mask. QUIT and CLOSED may follow any. */
static const unsigned allowed[C_STATES_] = {
    [C_GREETING] = 1 << C_EHLO,
    [C_EHLO] = 1 << C_EHLO | 1 << C_HELO | 1 << C_STARTTLS | 1 << C_AUTH | 1 << C_IDLE,
    [C_HELO] = 1 << C_IDLE,
    [C_STARTTLS] = 1 << C_EHLO | 1 << C_AUTH | 1 << C_IDLE,
    [C_AUTH] = 1 << C_IDLE,
    [C_IDLE] = 1 << C_ENVELOPE,
    [C_ENVELOPE] = 1 << C_DATA | 1 << C_BODY | 1 << C_RSET | 1 << C_IDLE,
    [C_DATA] = 1 << C_BODY | 1 << C_RSET,
    [C_BODY] = 1 << C_FINAL,
    [C_FINAL] = 1 << C_IDLE,
    [C_RSET] = 1 << C_IDLE,
};

/* Parts of the time-out, in fifths. */
static const unsigned char fifths[C_STATES_] = {
    [C_GREETING] = 5, [C_EHLO] = 5, [C_HELO] = 5, [C_STARTTLS] = 2, [C_AUTH] = 5,
    [C_ENVELOPE] = 5, [C_DATA] = 2, [C_BODY] = 3, [C_FINAL] = 10,   [C_RSET] = 5,
};

static void set_deadline(struct smtp_client *c)
{
    int64_t ms = c->settings.timeout_ms * fifths[c->state] / 5;

    if (c->state == C_IDLE)
        ms = c->settings.idle_ms;
    else if (c->state == C_QUIT)
        ms = QUIT_MS;
    c->session.want.deadline_ms = c->state == C_CLOSED ? 0 : clock_mono_ms() + ms;
}

static void set_state(struct smtp_client *c, enum client_state to)
{
    if (to != C_QUIT && to != C_CLOSED && !(allowed[c->state] & 1u << to)) {
        log_text(LOG_ERROR_, "smtp_client_state", "from %d to %d is not foreseen", c->state, to);
        abort();
    }
    c->state = to;
    c->session.want.busy = to != C_IDLE && to != C_QUIT && to != C_CLOSED;
    c->session.want.hint = to == C_IDLE;
    c->session.want.output = to == C_BODY;
    c->session.want.close = to == C_CLOSED;
    set_deadline(c);
}

static void say(struct smtp_client *c, const char *command)
{
    buf_add_str(&c->session.out, command);
    buf_add_slice(&c->session.out, S("\r\n"));
}

/* ---- Results ---- */

static bool is_settled(const struct transport_recipient *r)
{
    return r->status != NULL;
}

static const char *status_for(unsigned code)
{
    return code >= 500 ? "5.0.0" : code >= 400 ? "4.0.0" : "2.0.0";
}

static void settle_words(struct smtp_client *c, struct transport_recipient *r,
                         enum transport_result result, unsigned code, const char *status,
                         const char *text)
{
    struct arena *a = &c->job->arena;

    r->result = result;
    r->code = code;
    r->status = arena_str(a, slice_str(status));
    r->text = arena_str(a, slice_str(text));
    r->remote = arena_str(a, slice_str(c->settings.host));
    r->relayed_dsn = result == TRANSPORT_DELIVERED && (c->offer.features & SMTP_DSN) != 0;
}

static void settle_reply(struct smtp_client *c, struct transport_recipient *r,
                         const struct smtp_answer *reply)
{
    CLEANUP(buf_done) struct buf text = buf_make(SMTP_ANSWER_MAX);
    enum transport_result result = reply->code >= 500   ? TRANSPORT_FAILED
                                   : reply->code >= 400 ? TRANSPORT_LATER
                                                        : TRANSPORT_DELIVERED;

    smtp_answer_text(reply, &text);
    settle_words(c, r, result, reply->code,
                 reply->status[0] ? reply->status : status_for(reply->code), buf_cstr(&text));
}

static void settle_rest(struct smtp_client *c, enum transport_result result, unsigned code,
                        const char *status, const char *text)
{
    for (size_t i = 0; i < c->job->n; i++)
        if (!is_settled(&c->job->recipients[i]))
            settle_words(c, &c->job->recipients[i], result, code, status, text);
}

static void job_is_answered(struct smtp_client *c)
{
    struct transport_job *job = TAKE(c->job);

    free(TAKE(c->batch));
    free(TAKE(c->accepted));
    c->sent++;
    c->owner->answered(c->owner, job);
}

/* ---- The end ---- */

static void leave(struct smtp_client *c)
{
    c->closing = true;
    if (!c->left)
        c->owner->leaves(c->owner);
    c->left = true;
}

static void note_end(struct smtp_client *c, enum smtp_end how, unsigned code, const char *why)
{
    if (c->end_why[0])
        return;
    c->end = c->greeted ? SMTP_END_CLOSED : how;
    c->end_code = code;
    snprintf(c->end_why, sizeof c->end_why, "%s", why);
}

static void quit(struct smtp_client *c)
{
    leave(c);
    say(c, "QUIT");
    set_state(c, C_QUIT);
}

/* A server that ends a connection which was used before need not have meant this job; one that
 * does it to the first has had its say. */
static bool is_begun(const struct smtp_client *c)
{
    return c->job && (c->touched || c->sent == 0);
}

/* The connection is of no use any more. A job that was begun will not be answered. */
static void give_up(struct smtp_client *c, enum smtp_end how, unsigned code, const char *why)
{
    note_end(c, how, code, why);
    leave(c);
    if (is_begun(c)) {
        settle_rest(c, TRANSPORT_LATER, code, code >= 400 && code < 500 ? "4.0.0" : "4.4.2", why);
        job_is_answered(c);
    }
    set_state(c, C_CLOSED);
}

static void give_up_reply(struct smtp_client *c, const struct smtp_answer *reply)
{
    CLEANUP(buf_done) struct buf text = buf_make(SMTP_ANSWER_MAX);

    smtp_answer_text(reply, &text);
    note_end(c, SMTP_END_UNREACHABLE, reply->code, buf_cstr(&text));
    if (c->job && reply->code == 421)
        give_up(c, SMTP_END_UNREACHABLE, reply->code, buf_cstr(&text));
    else
        quit(c);
}

/* ---- Becoming ready ---- */

static void be_ready(struct smtp_client *c)
{
    c->greeted = true;
    set_state(c, C_IDLE);
}

static void hello(struct smtp_client *c, const char *verb, enum client_state state)
{
    buf_printf(&c->session.out, "%s %s\r\n", verb, c->settings.helo);
    set_state(c, state);
}

static void begin_auth(struct smtp_client *c)
{
    const struct session_peer *peer = &c->session.peer;
    bool here = strncmp(peer->remote, "127.", 4) == 0 || strcmp(peer->remote, "::1") == 0;
    struct error err = {0};
    int rc =
        smtp_auth_begin(c->settings.host, c->settings.user, c->settings.password,
                        c->offer.mechanisms, peer->tls || here, &c->auth, &c->session.out, &err);

    if (rc == 0) {
        set_state(c, C_AUTH);
        return;
    }
    note_end(c, SMTP_END_UNREACHABLE, 0, err.text);
    quit(c);
}

/* What the server offers is known, and will not change any more. */
static void after_hello(struct smtp_client *c)
{
    if (c->settings.tls == SMTP_TLS_MUST && !c->session.peer.tls) {
        note_end(c, SMTP_END_UNREACHABLE, 0, "TLS is required, and the server does not offer it");
        quit(c);
    } else if (c->settings.user) {
        begin_auth(c);
    } else {
        be_ready(c);
    }
}

static void on_greeting(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 2)
        hello(c, "EHLO", C_EHLO);
    else
        give_up_reply(c, reply);
}

static void on_ehlo(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 5 && !c->session.peer.tls) {
        hello(c, "HELO", C_HELO);
        return;
    }
    if (reply->code / 100 != 2) {
        give_up_reply(c, reply);
        return;
    }
    smtp_answer_offer(reply, &c->offer);
    if (!c->session.peer.tls && c->settings.tls != SMTP_TLS_NEVER &&
        (c->offer.features & SMTP_STARTTLS)) {
        say(c, "STARTTLS");
        set_state(c, C_STARTTLS);
    } else {
        after_hello(c);
    }
}

static void on_helo(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 2)
        after_hello(c);
    else
        give_up_reply(c, reply);
}

static void on_starttls(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code == 220)
        c->session.want.starttls = true;
    else if (c->settings.tls == SMTP_TLS_MUST)
        give_up_reply(c, reply);
    else
        after_hello(c);
}

static void on_auth(struct smtp_client *c, const struct smtp_answer *reply)
{
    size_t at = 0;
    struct slice text = S("");

    if (reply->code == 334 && smtp_answer_line(reply, &at, &text)) {
        smtp_auth_answer(c->auth, text, &c->session.out);
        set_deadline(c);
    } else if (reply->code == 235 && smtp_auth_is_done(c->auth)) {
        smtp_auth_free(TAKE(c->auth));
        be_ready(c);
    } else if (reply->code == 235) {
        note_end(c, SMTP_END_UNREACHABLE, 0,
                 "the server has not proved that it knows the password");
        quit(c);
    } else {
        give_up_reply(c, reply);
    }
}

/* ---- The envelope ---- */

static void add_xtext(struct buf *out, const char *text)
{
    for (; *text; text++) {
        uint8_t ch = (uint8_t)*text;

        if (ch <= ' ' || ch >= 127 || ch == '+' || ch == '=')
            buf_printf(out, "+%02X", ch);
        else
            buf_add_byte(out, ch);
    }
}

static bool is_offered(const struct smtp_client *c, enum smtp_feature feature)
{
    return (c->offer.features & feature) != 0;
}

static void add_by(struct smtp_client *c, const struct queue_envelope *e)
{
    int64_t seconds = (e->by_ms - clock_wall_ms()) / 1000;

    buf_printf(&c->session.out, " BY=%lld;%c%s", (long long)seconds,
               e->by == QUEUE_BY_RETURN ? 'R' : 'N', e->by_trace ? "T" : "");
}

static void say_mail(struct smtp_client *c)
{
    const struct queue_envelope *e = c->job->envelope;
    struct buf *out = &c->session.out;

    buf_printf(out, "MAIL FROM:<%s>", e->sender);
    if (is_offered(c, SMTP_SIZE))
        buf_printf(out, " SIZE=%llu", (unsigned long long)(c->job->size + c->job->head.n));
    if (e->body != QUEUE_7BIT && is_offered(c, SMTP_8BITMIME))
        buf_printf(out, " BODY=%s", c->binary ? "BINARYMIME" : "8BITMIME");
    if (e->utf8)
        buf_add_slice(out, S(" SMTPUTF8"));
    if (is_offered(c, SMTP_DSN) && e->ret != QUEUE_RET_DEFAULT)
        buf_printf(out, " RET=%s", e->ret == QUEUE_RET_FULL ? "FULL" : "HDRS");
    if (is_offered(c, SMTP_DSN) && e->envid[0]) {
        buf_add_slice(out, S(" ENVID="));
        add_xtext(out, e->envid);
    }
    if (e->require_tls)
        buf_add_slice(out, S(" REQUIRETLS"));
    if (is_offered(c, SMTP_MT_PRIORITY) && e->priority != 0)
        buf_printf(out, " MT-PRIORITY=%d", e->priority);
    if (is_offered(c, SMTP_DELIVERBY) && e->by != QUEUE_BY_NONE)
        add_by(c, e);
    buf_add_slice(out, S("\r\n"));
}

static void add_notify(struct buf *out, unsigned notify)
{
    static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    const char *before = " NOTIFY=";

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (notify & 1u << i) {
            buf_printf(out, "%s%s", before, names[i]);
            before = ",";
        }
}

static void add_orcpt(struct buf *out, const char *orcpt)
{
    size_t type = strcspn(orcpt, ";");

    buf_printf(out, " ORCPT=%.*s;", (int)type, orcpt);
    add_xtext(out, orcpt + type + (orcpt[type] == ';'));
}

static void say_rcpt(struct smtp_client *c)
{
    const struct queue_recipient *to = c->job->recipients[c->batch[c->sent_n++]].to;
    struct buf *out = &c->session.out;

    buf_printf(out, "RCPT TO:<%s>", to->address);
    if (is_offered(c, SMTP_DSN)) {
        add_notify(out, to->notify);
        if (to->orcpt && to->orcpt[0])
            add_orcpt(out, to->orcpt);
    }
    buf_add_slice(out, S("\r\n"));
}

/* True: there is somebody left to send to. */
static bool fill_batch(struct smtp_client *c)
{
    size_t max = RCPT_MAX;

    if (c->offer.rcpt_max > 0)
        max = MIN((size_t)c->offer.rcpt_max, (size_t)RCPT_MAX_TOLD);
    c->batch_n = c->sent_n = c->replied_n = c->accepted_n = 0;
    for (size_t i = 0; i < c->job->n && c->batch_n < max; i++)
        if (!is_settled(&c->job->recipients[i])) {
            c->accepted[c->batch_n] = false;
            c->batch[c->batch_n++] = i;
        }
    return c->batch_n > 0;
}

static void begin_transaction(struct smtp_client *c)
{
    c->mail_waits = true;
    c->mail_ok = false;
    set_state(c, C_ENVELOPE);
    say_mail(c);
    while (is_offered(c, SMTP_PIPELINING) && c->sent_n < c->batch_n)
        say_rcpt(c);
}

/* Nothing of a transaction is open. */
static void after_transaction(struct smtp_client *c)
{
    set_state(c, C_IDLE);
    if (fill_batch(c)) {
        begin_transaction(c);
        return;
    }
    job_is_answered(c);
    if (c->closing || c->sent >= c->settings.messages_max ||
        (c->offer.mail_max > 0 && c->sent >= c->offer.mail_max))
        quit(c);
}

static void reset(struct smtp_client *c)
{
    say(c, "RSET");
    set_state(c, C_RSET);
}

static void start_content(struct smtp_client *c)
{
    c->crlf = (struct crlf){0};
    c->body_at = 0;
    c->chunks = 0;
    c->head_sent = false;
    c->line_start = true;
    if (c->binary) {
        set_state(c, C_BODY);
    } else {
        say(c, "DATA");
        set_state(c, C_DATA);
    }
}

static void envelope_is_told(struct smtp_client *c)
{
    if (c->accepted_n > 0)
        start_content(c);
    else if (c->mail_ok)
        reset(c);
    else
        after_transaction(c);
}

static void on_mail(struct smtp_client *c, const struct smtp_answer *reply)
{
    c->mail_waits = false;
    c->touched = true;
    c->mail_ok = reply->code / 100 == 2;
    if (c->mail_ok)
        return;
    for (size_t i = 0; i < c->batch_n; i++)
        settle_reply(c, &c->job->recipients[c->batch[i]], reply);
    if (!is_offered(c, SMTP_PIPELINING))
        c->replied_n = c->sent_n = c->batch_n;
}

/* RFC 5321 4.5.3.1.10: after 452 for too many recipients the others are sent without them, and
 * then they are. */
static void on_rcpt(struct smtp_client *c, const struct smtp_answer *reply)
{
    size_t i = c->replied_n++;
    struct transport_recipient *r = &c->job->recipients[c->batch[i]];

    if (!c->mail_ok)
        return; /* settled by the reply to MAIL */
    if (reply->code / 100 == 2) {
        c->accepted[i] = true;
        c->accepted_n++;
    } else if (reply->code != 452 || c->accepted_n == 0) {
        settle_reply(c, r, reply);
    }
}

static void on_envelope(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 3) {
        give_up(c, SMTP_END_UNREACHABLE, 0, "the server's reply makes no sense");
        return;
    }
    if (c->mail_waits)
        on_mail(c, reply);
    else
        on_rcpt(c, reply);
    if (c->replied_n == c->batch_n)
        envelope_is_told(c);
    else if (c->sent_n == c->replied_n)
        say_rcpt(c);
    if (c->state == C_ENVELOPE)
        set_deadline(c);
}

/* ---- The content ---- */

static void settle_accepted(struct smtp_client *c, const struct smtp_answer *reply)
{
    for (size_t i = 0; i < c->batch_n; i++)
        if (c->accepted[i])
            settle_reply(c, &c->job->recipients[c->batch[i]], reply);
}

static void on_data(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code == 354) {
        set_state(c, C_BODY);
    } else if (reply->code / 100 >= 4) {
        settle_accepted(c, reply);
        reset(c);
    } else {
        give_up(c, SMTP_END_UNREACHABLE, 0, "the server's reply to DATA makes no sense");
    }
}

/* While the content is under way: of BDAT each chunk is answered, and a server may refuse early. */
static void on_chunk(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 2 && c->chunks > 0) {
        c->chunks--;
    } else if (reply->code / 100 >= 4) {
        settle_accepted(c, reply);
        give_up(c, SMTP_END_CLOSED, reply->code, "the server refused a part of the message");
    } else {
        give_up(c, SMTP_END_CLOSED, 0, "the server's reply makes no sense");
    }
}

static void on_final(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 3) {
        give_up(c, SMTP_END_UNREACHABLE, 0, "the server's reply makes no sense");
    } else if (c->chunks > 0) {
        on_chunk(c, reply);
    } else {
        settle_accepted(c, reply);
        after_transaction(c);
    }
}

/* RFC 5321 4.5.2; clean line ends only. */
static void add_stuffed(struct smtp_client *c, struct slice text)
{
    struct buf *out = &c->session.out;

    while (text.n > 0) {
        ssize_t lf = slice_find(text, '\n');
        size_t n = lf < 0 ? text.n : (size_t)lf + 1;

        if (c->line_start && text.p[0] == '.')
            buf_add_byte(out, '.');
        buf_add(out, text.p, n);
        c->line_start = lf >= 0;
        text = slice_skip(text, n);
    }
}

static void add_content(struct smtp_client *c, struct slice piece, bool last)
{
    CLEANUP(buf_done) struct buf clean = buf_make(piece.n * 2 + 16);

    crlf_feed(&c->crlf, piece, &clean);
    if (last)
        crlf_end(&c->crlf, &clean);
    add_stuffed(c, buf_slice(&clean));
    if (last)
        buf_add_str(&c->session.out, c->line_start ? ".\r\n" : "\r\n.\r\n");
}

/* RFC 3030: the bytes as they are, each piece with its length in front. */
static void add_chunk(struct smtp_client *c, struct slice piece, bool last)
{
    buf_printf(&c->session.out, "BDAT %zu%s\r\n", piece.n, last ? " LAST" : "");
    buf_add_slice(&c->session.out, piece);
    c->chunks += !last;
}

/* The next piece: the head, then the body. False: it cannot be read. */
static bool next_piece(struct smtp_client *c, struct buf *piece, struct error *err)
{
    struct transport_job *job = c->job;
    uint64_t left = job->size - c->body_at;

    if (!c->head_sent)
        buf_add_slice(piece, job->head);
    c->head_sent = true;
    size_t before = piece->n;
    if (left > 0 && job->read(job, c->body_at, MIN((uint64_t)READ_PIECE, left), piece, err) < 0)
        return false;
    if (left > 0 && (piece->n == before || piece->n - before > left)) {
        error_set(err, ERR_INTERNAL, "the message's length is not as it was");
        return false;
    }
    c->body_at += piece->n - before;
    return true;
}

static void send_content(struct smtp_client *c)
{
    struct buf *out = &c->session.out;
    bool last = false;

    while (!last && out->n < SESSION_SLICE) {
        CLEANUP(buf_done) struct buf piece = buf_make(READ_PIECE + c->job->head.n + 16);
        struct error err = {0};

        if (!next_piece(c, &piece, &err)) {
            log_text(LOG_WARN_, "smtp_client", "a message under way cannot be read: %s", err.text);
            give_up(c, SMTP_END_CLOSED, 0, "the message cannot be read at the moment");
            buf_reset(out, 0); /* what is missing must not look like an end */
            return;
        }
        last = c->body_at == c->job->size;
        if (c->binary)
            add_chunk(c, buf_slice(&piece), last);
        else
            add_content(c, buf_slice(&piece), last);
    }
    if (last)
        set_state(c, C_FINAL);
    else
        set_deadline(c);
}

/* ---- Jobs ---- */

/* Why this message cannot go to this server; NULL: it can. */
static const char *obstacle(const struct smtp_client *c, const char **ret_status)
{
    const struct queue_envelope *e = c->job->envelope;
    const struct session_peer *peer = &c->session.peer;

    *ret_status = "5.6.3";
    if (e->body == QUEUE_BINARYMIME &&
        !(is_offered(c, SMTP_BINARYMIME) && is_offered(c, SMTP_CHUNKING)))
        return "the server does not take binary messages";
    if (e->body == QUEUE_8BITMIME && !is_offered(c, SMTP_8BITMIME))
        return "the server does not take 8-bit messages";
    *ret_status = "5.6.7";
    if (e->utf8 && !is_offered(c, SMTP_UTF8))
        return "the server does not take internationalised mail (SMTPUTF8)";
    *ret_status = "5.3.4";
    if (c->offer.size_max > 0 && c->job->size + c->job->head.n > c->offer.size_max)
        return "the message is larger than the server takes";
    *ret_status = "5.7.30";
    if (e->require_tls && !(is_offered(c, SMTP_REQUIRETLS) && peer->tls && peer->tls_verified))
        return "the server does not give the protection that REQUIRETLS asks for";
    *ret_status = "5.3.3";
    if (e->by == QUEUE_BY_RETURN && !is_offered(c, SMTP_DELIVERBY))
        return "the server does not know DELIVERBY, and the message must not be late";
    *ret_status = "5.4.7";
    if (e->by == QUEUE_BY_RETURN &&
        e->by_ms - clock_wall_ms() < MAX((int64_t)c->offer.deliverby_min * 1000, (int64_t)1000))
        return "the message cannot be there in time (DELIVERBY)";
    return NULL;
}

/* Nothing that a command line is made of may end it. */
static bool is_clean(const char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text < ' ' || *text == 127)
            return false;
    return true;
}

static void settle_unclean(struct smtp_client *c)
{
    if (!is_clean(c->job->envelope->sender))
        settle_rest(c, TRANSPORT_FAILED, 0, "5.1.7", "the sender's address cannot be sent");
    for (size_t i = 0; i < c->job->n; i++)
        if (!is_settled(&c->job->recipients[i]) && !is_clean(c->job->recipients[i].to->address))
            settle_words(c, &c->job->recipients[i], TRANSPORT_FAILED, 0, "5.1.3",
                         "the address cannot be sent");
}

static void begin_job(struct smtp_client *c, struct transport_job *job)
{
    const char *status, *why;

    c->job = job;
    c->touched = false;
    c->binary = job->envelope->body == QUEUE_BINARYMIME;
    c->batch = NEW_ARRAY(size_t, job->n + 1);
    c->accepted = NEW_ARRAY(bool, job->n + 1);
    why = obstacle(c, &status);
    if (why)
        settle_rest(c, TRANSPORT_FAILED, 0, status, why);
    settle_unclean(c);
    if (fill_batch(c))
        begin_transaction(c);
    else
        job_is_answered(c);
}

static void look_for_jobs(struct smtp_client *c)
{
    while (c->state == C_IDLE && !c->closing) {
        struct transport_job *job = c->owner->next(c->owner);

        if (!job)
            return;
        begin_job(c, job);
    }
    if (c->state == C_IDLE)
        quit(c);
}

static void on_idle(struct smtp_client *c, const struct smtp_answer *reply)
{
    quit(c); /* it says that it will close, or speaks out of turn */
}

static void on_rset(struct smtp_client *c, const struct smtp_answer *reply)
{
    c->closing |= reply->code / 100 != 2;
    after_transaction(c);
}

static void on_quit(struct smtp_client *c, const struct smtp_answer *reply)
{
    set_state(c, C_CLOSED);
}

static void (*const reply_handlers[C_STATES_])(struct smtp_client *, const struct smtp_answer *) = {
    [C_GREETING] = on_greeting, [C_EHLO] = on_ehlo, [C_HELO] = on_helo,
    [C_STARTTLS] = on_starttls, [C_AUTH] = on_auth, [C_IDLE] = on_idle,
    [C_ENVELOPE] = on_envelope, [C_DATA] = on_data, [C_BODY] = on_chunk,
    [C_FINAL] = on_final,       [C_RSET] = on_rset, [C_QUIT] = on_quit,
};

/* ---- The session ---- */

static bool client_ready(struct session *s)
{
    struct smtp_answer reply;
    size_t used;

    return smtp_answer_take(buf_slice(&s->in), &reply, &used) != 0;
}

/* After 220 to STARTTLS nothing more may be read here: the pump looks at it. */
static void take_replies(struct smtp_client *c)
{
    struct session *s = &c->session;
    struct smtp_answer reply;
    size_t used;
    int rc = 0;

    while (c->state != C_CLOSED && !s->want.starttls &&
           (rc = smtp_answer_take(buf_slice(&s->in), &reply, &used)) > 0) {
        if (reply.code == 421 && c->state != C_QUIT && c->state != C_GREETING)
            give_up_reply(c, &reply);
        else
            reply_handlers[c->state](c, &reply);
        buf_consume(&s->in, used);
    }
    if (rc < 0 && c->state != C_CLOSED)
        give_up(c, SMTP_END_UNREACHABLE, 0, "what the server says is not SMTP");
}

static void on_deadline(struct smtp_client *c)
{
    if (clock_mono_ms() < c->session.want.deadline_ms || c->state == C_CLOSED)
        return;
    if (c->state == C_IDLE)
        quit(c);
    else if (c->state == C_QUIT)
        set_state(c, C_CLOSED);
    else
        give_up(c, SMTP_END_UNREACHABLE, 0, "the server does not answer in time");
}

static void on_end_of_input(struct smtp_client *c, unsigned events)
{
    if (c->state == C_CLOSED)
        return;
    if (events & SESSION_FAILED)
        give_up(c, c->state == C_STARTTLS ? SMTP_END_TLS : SMTP_END_UNREACHABLE, 0,
                c->session.peer.failure);
    else if (c->state == C_QUIT)
        set_state(c, C_CLOSED);
    else
        give_up(c, c->session.want.starttls ? SMTP_END_TLS : SMTP_END_UNREACHABLE, 0,
                "the server closed the connection");
}

static void client_step(struct session *s, unsigned events)
{
    struct smtp_client *c = client_of(s);

    if (events == 0 && c->state == C_GREETING)
        set_deadline(c);
    if (events & SESSION_TLS) {
        c->offer = (struct smtp_offer){0};
        hello(c, "EHLO", C_EHLO);
    }
    take_replies(c);
    if (events & SESSION_SHUTDOWN)
        c->closing = true;
    if (events & (SESSION_EOF | SESSION_FAILED))
        on_end_of_input(c, events);
    if (events & SESSION_DEADLINE)
        on_deadline(c);
    look_for_jobs(c);
    if (c->state == C_BODY)
        send_content(c);
}

static void client_free(struct session *s)
{
    struct smtp_client *c = client_of(s);

    note_end(c, SMTP_END_UNREACHABLE, 0, "shutdown");
    leave(c);
    if (is_begun(c)) {
        settle_rest(c, TRANSPORT_LATER, 0, "4.3.2", "shutdown");
        job_is_answered(c);
    }
    free(c->batch);
    free(c->accepted);
    smtp_auth_free(c->auth);
    c->owner->ended(c->owner, c->end, c->end_code, c->end_why, c->job);
    free((char *)c->settings.helo);
    free((char *)c->settings.host);
    free((char *)c->settings.user);
    free((char *)c->settings.password);
    free(c);
}

static const struct session_ops client_ops = {
    .name = "smtp-client", .ready = client_ready, .step = client_step, .free = client_free};

struct session *smtp_client_new(const struct smtp_client_settings *settings,
                                struct smtp_owner *owner)
{
    struct smtp_client *c = NEW(struct smtp_client);
    struct session *s = &c->session;

    c->owner = owner;
    c->settings = *settings;
    c->settings.helo = mem_strdup(settings->helo);
    c->settings.host = mem_strdup(settings->host);
    c->settings.user = settings->user ? mem_strdup(settings->user) : NULL;
    c->settings.password = mem_strdup(settings->password ? settings->password : "");
    c->settings.timeout_ms = settings->timeout_ms ? settings->timeout_ms : TIMEOUT_MS;
    c->settings.idle_ms = settings->idle_ms ? settings->idle_ms : IDLE_MS;
    c->settings.messages_max = settings->messages_max ? settings->messages_max : MESSAGES_MAX;
    s->ops = &client_ops;
    s->in = buf_make(SMTP_ANSWER_MAX);
    s->out = buf_make(BUF_MAX_DEFAULT);
    s->want = (struct session_want){.input = true, .busy = true, .input_max = SMTP_ANSWER_MAX};
    return s;
}
