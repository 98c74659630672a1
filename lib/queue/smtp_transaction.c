/* SPDX-License-Identifier: MPL-2.0 */
/* One job on a connection that is ready: results, envelope, content. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/queue/smtp_client_impl.h"

#define RCPT_MAX      100 /* of a transaction, unless the server says otherwise (RFC 5321 4.5.3.1.8) */
#define RCPT_MAX_TOLD 1000 /* and whatever it says */
#define READ_PIECE    ((size_t)64 << 10)

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

/* A server that ends a connection which was used before need not have meant this job; one that
 * does it to the first has had its say. */
bool transaction_is_begun(const struct smtp_client *c)
{
    return c->job && (c->touched || c->sent == 0);
}

void transaction_end(struct smtp_client *c, enum transport_result result, unsigned code,
                     const char *status, const char *text)
{
    settle_rest(c, result, code, status, text);
    job_is_answered(c);
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
    if (is_offered(c, SMTP_NO_SOLICITING) && e->solicit && *e->solicit)
        buf_printf(out, " SOLICIT=%s", e->solicit);
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
    client_set_state(c, C_ENVELOPE);
    say_mail(c);
    while (is_offered(c, SMTP_PIPELINING) && c->sent_n < c->batch_n)
        say_rcpt(c);
}

/* Nothing of a transaction is open. */
static void after_transaction(struct smtp_client *c)
{
    client_set_state(c, C_IDLE);
    if (fill_batch(c)) {
        begin_transaction(c);
        return;
    }
    job_is_answered(c);
    if (c->closing || c->sent >= c->settings.messages_max ||
        (c->offer.mail_max > 0 && c->sent >= c->offer.mail_max))
        client_quit(c);
}

static void reset(struct smtp_client *c)
{
    client_say(c, "RSET");
    client_set_state(c, C_RSET);
}

static void start_content(struct smtp_client *c)
{
    c->crlf = (struct crlf){0};
    c->body_at = 0;
    c->chunks = 0;
    c->head_sent = false;
    c->line_start = true;
    if (c->binary) {
        client_set_state(c, C_BODY);
    } else {
        client_say(c, "DATA");
        client_set_state(c, C_DATA);
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

void transaction_on_envelope(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 3) {
        client_give_up(c, SMTP_END_UNREACHABLE, 0, "the server's reply makes no sense");
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
        client_set_deadline(c);
}

/* ---- The content ---- */

static void settle_accepted(struct smtp_client *c, const struct smtp_answer *reply)
{
    for (size_t i = 0; i < c->batch_n; i++)
        if (c->accepted[i])
            settle_reply(c, &c->job->recipients[c->batch[i]], reply);
}

void transaction_on_data(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code == 354) {
        client_set_state(c, C_BODY);
    } else if (reply->code / 100 >= 4) {
        settle_accepted(c, reply);
        reset(c);
    } else {
        client_give_up(c, SMTP_END_UNREACHABLE, 0, "the server's reply to DATA makes no sense");
    }
}

/* While the content is under way: of BDAT each chunk is answered, and a server may refuse early. */
void transaction_on_chunk(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 2 && c->chunks > 0) {
        c->chunks--;
    } else if (reply->code / 100 >= 4) {
        settle_accepted(c, reply);
        client_give_up(c, SMTP_END_CLOSED, reply->code, "the server refused a part of the message");
    } else {
        client_give_up(c, SMTP_END_CLOSED, 0, "the server's reply makes no sense");
    }
}

void transaction_on_final(struct smtp_client *c, const struct smtp_answer *reply)
{
    if (reply->code / 100 == 3) {
        client_give_up(c, SMTP_END_UNREACHABLE, 0, "the server's reply makes no sense");
    } else if (c->chunks > 0) {
        transaction_on_chunk(c, reply);
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

void transaction_send_content(struct smtp_client *c)
{
    struct buf *out = &c->session.out;
    bool last = false;

    while (!last && out->n < SESSION_SLICE) {
        CLEANUP(buf_done) struct buf piece = buf_make(READ_PIECE + c->job->head.n + 16);
        struct error err = {0};

        if (!next_piece(c, &piece, &err)) {
            log_text(LOG_WARN_, "smtp_client", "a message under way cannot be read: %s", err.text);
            client_give_up(c, SMTP_END_CLOSED, 0, "the message cannot be read at the moment");
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
        client_set_state(c, C_FINAL);
    else
        client_set_deadline(c);
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

void transaction_begin(struct smtp_client *c, struct transport_job *job)
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

void transaction_on_rset(struct smtp_client *c, const struct smtp_answer *reply)
{
    c->closing |= reply->code / 100 != 2;
    after_transaction(c);
}
