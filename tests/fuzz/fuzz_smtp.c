/* SPDX-License-Identifier: MPL-2.0 */
/* A whole LMTP session over a dialect that only counts. The first byte says how the rest is cut. */
#include "lib/base/log.h"
#include "protocols/smtp/smtp.h"

static int count_rcpt(void *service, struct smtp_transaction *t, struct smtp_recipient *r,
                      struct smtp_reply *reply)
{
    return 0;
}

static int count_begin(void *service, struct smtp_transaction *t, struct smtp_reply *reply)
{
    t->content = service;
    return 0;
}

static int count_feed(void *service, struct smtp_transaction *t, struct slice bytes,
                      struct smtp_reply *reply)
{
    *(uint64_t *)service += bytes.n;
    return 0;
}

static void count_abort(void *service, struct smtp_transaction *t)
{
    t->content = NULL;
}

static void count_finish(void *service, struct smtp_transaction *t)
{
    for (size_t i = 0; i < t->recipients.n; i++)
        smtp_reply_set(&t->recipients.items[i].reply, 250, "2.0.0", "%s", t->sender);
    t->content = NULL;
}

static const struct smtp_ops count_ops = {.rcpt = count_rcpt,
                                          .begin = count_begin,
                                          .feed = count_feed,
                                          .finish = count_finish,
                                          .abort = count_abort};
static const struct smtp_dialect dialect = {
    .name = "LMTP",
    .log_name = "lmtp",
    .with = "LMTP",
    .with_utf8 = "UTF8LMTP",
    .extensions = SMTP_LHLO | SMTP_PIPELINING | SMTP_SIZE | SMTP_STARTTLS | SMTP_EIGHT |
                  SMTP_BINARY | SMTP_CHUNKING | SMTP_UTF8 | SMTP_SOLICIT,
    .reply_per_recipient = true,
    .ops = &count_ops,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_settings settings = {.hostname = "h",
                                     .message_max = 10000,
                                     .recipients_max = 100,
                                     .bad_commands = 20,
                                     .timeout_ms = 1000,
                                     .starttls = true,
                                     .no_solicit = "net.example:ADV org.example:ADULT"};
    uint64_t count = 0;
    struct session_peer peer = {.remote = "192.0.2.1"};
    struct session_service *service;
    struct session *s;
    size_t step;

    if (size < 2)
        return 0;
    log_set_level(LOG_ERROR_);
    service = smtp_service_new(&dialect, &settings, &count);
    s = service->open(service, &peer);
    step = data[0] ? data[0] : size;
    s->ops->step(s, 0);
    for (size_t at = 1; at < size && !s->want.close; at += step) {
        buf_add_slice(&s->in, slice_sub(slice_of(data, size), at, at + step));
        if (s->ops->ready(s))
            s->ops->step(s, SESSION_INPUT);
        if (s->want.starttls) {
            s->peer.tls = true;
            buf_reset(&s->in, 0);
            s->ops->step(s, SESSION_TLS);
        }
        buf_reset(&s->out, 4096);
    }
    s->ops->step(s, SESSION_EOF);
    s->ops->free(s);
    smtp_service_free(service);
    return 0;
}
