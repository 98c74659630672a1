/* SPDX-License-Identifier: MPL-2.0 */
/* The content of a transaction, by DATA, BDAT or BURL, on its way to the dialect. What is too
 * large, or what the dialect refuses, is read and dropped, so that the reply can be given where the
 * protocol wants it. */
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "protocols/smtp/impl.h"

#define SMTP_URLS_MAX 100 /* of one message */

static void log_result(struct smtp_session *s, const struct smtp_recipient *r, int64_t ms)
{
    struct log_line l;

    log_begin(&l, LOG_INFO_, "delivery");
    log_str(&l, "protocol", slice_str(s->service->dialect->log_name));
    log_num(&l, "session", (int64_t)s->base.id);
    log_str(&l, "remote", slice_str(s->base.peer.remote));
    if (s->logged_in)
        log_str(&l, "user", slice_str(s->user.login));
    log_str(&l, "sender", slice_str(s->t.sender));
    log_str(&l, "recipient", slice_str(r->address));
    log_num(&l, "octets", (int64_t)s->t.received);
    log_num(&l, "reply", r->reply.code);
    if (r->reply.code >= 300 || s->logged_in)
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
            smtp_send(s, &r->reply);
    }
    smtp_transaction_end(s);
    smtp_set_state(s, STATE_READY);
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

void smtp_cmd_data(struct smtp_session *s, struct slice rest)
{
    struct smtp_reply reply;

    if (rest.n) {
        smtp_bad(s, 501, "5.5.4", "DATA has no argument");
        return;
    }
    if (s->t.body == QUEUE_BINARYMIME) {
        /* RFC 3030 section 3: BINARYMIME cannot be used with DATA */
        smtp_bad(s, 503, "5.5.1", "BINARYMIME needs BDAT");
        return;
    }
    if (content_begin(s) < 0) {
        reply = s->t.failure;
        smtp_transaction_end(s);
        smtp_set_state(s, STATE_READY);
        smtp_send(s, &reply);
        return;
    }
    s->dots = (struct smtp_dots){0};
    smtp_set_state(s, STATE_DATA);
    SMTP_REPLY(s, 354, NULL, "Send the message, end with <CRLF>.<CRLF>");
}

void smtp_cmd_bdat(struct smtp_session *s, struct slice rest)
{
    if (smtp_bdat_parse(rest, &s->chunk_left, &s->chunk_last) < 0) {
        /* where the chunk ends is not known, so neither is where the next command begins */
        SMTP_REPLY(s, 501, "5.5.4", "Say BDAT size [LAST]");
        s->base.want.close = true;
        return;
    }
    s->chunk_back = s->state;
    s->chunk_dropped = s->state != STATE_RCPT && s->state != STATE_CHUNKS;
    if (s->state == STATE_RCPT)
        (void)!content_begin(s);
    smtp_set_state(s, STATE_BDAT);
}

static void chunk_end(struct smtp_session *s)
{
    if (s->chunk_dropped) {
        smtp_set_state(s, s->chunk_back);
        smtp_bad(s, 503, "5.5.1", "No valid recipients");
        return;
    }
    if (s->chunk_last) {
        content_end(s);
        return;
    }
    smtp_set_state(s, STATE_CHUNKS);
    SMTP_REPLY(s, 250, "2.0.0", "%llu octets so far", (unsigned long long)s->t.received);
}

/* What a URL names is given as far as somebody wants it. */
static int url_feed(void *ctx, struct slice bytes)
{
    struct smtp_session *s = ctx;

    (void)!content_feed(s, bytes);
    return s->t.failed ? -ERR_CANCELLED : 0;
}

static void take_url(struct smtp_session *s, struct slice url)
{
    const struct smtp_ops *ops = s->service->dialect->ops;
    struct smtp_reply reply;
    int res = -ERR_LIMIT;

    if (s->t.urls++ >= SMTP_URLS_MAX)
        smtp_reply_set(&reply, 452, "4.5.3", "A message may be made of %d URLs at most",
                       SMTP_URLS_MAX);
    else
        res = ops->url(s->service->context, &s->t, url, url_feed, s, &reply);
    if (res < 0 && !s->t.failed)
        content_fail(s, &reply);
}

/* RFC 4468 section 3.2: "If the URL fetch fails, the server will fail the entire transaction." */
void smtp_cmd_burl(struct smtp_session *s, struct slice rest)
{
    struct slice url;
    bool last;

    if (smtp_burl_parse(rest, &url, &last) < 0) {
        smtp_bad(s, 501, "5.5.4", "Say BURL url [LAST]");
        return;
    }
    if (s->state == STATE_RCPT)
        (void)!content_begin(s);
    if (!s->t.failed)
        take_url(s, url);
    if (last || s->t.failed) {
        content_end(s);
        return;
    }
    smtp_set_state(s, STATE_CHUNKS);
    SMTP_REPLY(s, 250, "2.5.0", "%llu octets so far", (unsigned long long)s->t.received);
}

bool smtp_step_data(struct smtp_session *s)
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

bool smtp_step_chunk(struct smtp_session *s)
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
