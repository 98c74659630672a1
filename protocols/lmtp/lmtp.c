/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 2033, RFC 3848 (with LMTP, LMTPS). */
#include "protocols/lmtp/lmtp.h"

#include "lib/mail/message.h"
#include "protocols/smtp/deliver.h"
#include "protocols/smtp/trace.h"

struct lmtp {
    struct lmtp_settings settings;
    struct mail *mail;
    struct directory *directory;
};

/* One recipient's accounts, and where in the account the mail goes. */
struct rcpt {
    struct directory_recipient *items;
    size_t n;
};

/* The content of a transaction on its way in. */
struct incoming {
    struct message_writer *writer;
};

static void set_reply(const struct lmtp *l, struct smtp_reply *reply, int res)
{
    delivery_reply(reply, res, l->settings.over_quota_permanent);
}

static int lmtp_rcpt(void *service, struct smtp_transaction *t, struct smtp_recipient *recipient,
                     struct smtp_reply *reply)
{
    struct lmtp *l = service;
    struct rcpt *rcpt = ARENA_NEW(&t->arena, struct rcpt);
    struct error err = {0};
    int res = directory_resolve(l->directory, slice_str(recipient->address), 0, &t->arena,
                                &rcpt->items, &rcpt->n, &err);

    if (res < 0) {
        delivery_rcpt_reply(reply, res);
        return res;
    }
    for (size_t i = 0; i < rcpt->n; i++) {
        uint64_t max = rcpt->items[i].message_size;

        if (max && t->size > max) {
            smtp_reply_set(reply, 552, "5.2.3", "The user takes messages of %llu octets at most",
                           (unsigned long long)max);
            return -ERR_TOOBIG;
        }
    }
    recipient->context = rcpt;
    return 0;
}

static int lmtp_begin(void *service, struct smtp_transaction *t, struct smtp_reply *reply)
{
    struct lmtp *l = service;
    struct incoming *in = NEW(struct incoming);

    in->writer = message_writer_new(l->mail);
    t->content = in;
    return 0;
}

static int lmtp_feed(void *service, struct smtp_transaction *t, struct slice bytes,
                     struct smtp_reply *reply)
{
    struct incoming *in = t->content;
    struct error err = {0};
    int res = message_writer_feed(in->writer, bytes, &err);

    if (res < 0)
        set_reply(service, reply, res);
    return res;
}

static void lmtp_abort(void *service, struct smtp_transaction *t)
{
    struct incoming *in = t->content;

    message_writer_free(in->writer);
    free(in);
    t->content = NULL;
}

static void deliver(struct lmtp *l, struct smtp_transaction *t, struct prepared *base)
{
    CLEANUP(buf_done) struct buf received = buf_make(8192);
    struct delivery_message message = {.sender = t->sender, .base = base};
    struct deliveries all;
    size_t most = 0;

    for (size_t i = 0; i < t->recipients.n; i++)
        most += ((struct rcpt *)t->recipients.items[i].context)->n;
    trace_received(t, &(struct trace_options){0}, &received);
    message.received = buf_slice(&received);
    prepared_hash(base, message.hash);
    deliveries_init(&all, l->mail, &t->arena, most);
    for (size_t i = 0; i < t->recipients.n; i++) {
        const struct rcpt *rcpt = t->recipients.items[i].context;

        deliveries_add(&all, &message, rcpt->items, rcpt->n);
    }
    deliveries_commit(&all);
    for (size_t i = 0; i < t->recipients.n; i++) {
        const struct rcpt *rcpt = t->recipients.items[i].context;

        set_reply(l, &t->recipients.items[i].reply, deliveries_result(&all, rcpt->items, rcpt->n));
    }
    deliveries_done(&all);
}

static void lmtp_finish(void *service, struct smtp_transaction *t)
{
    struct lmtp *l = service;
    struct incoming *in = t->content;
    struct prepared *base = NULL;
    struct error err = {0};
    int res = message_writer_finish(in->writer, &base, &err);

    if (res < 0)
        for (size_t i = 0; i < t->recipients.n; i++)
            set_reply(l, &t->recipients.items[i].reply, res);
    else
        deliver(l, t, base);
    prepared_unref(base);
    lmtp_abort(service, t);
}

static const struct smtp_ops lmtp_ops = {.rcpt = lmtp_rcpt,
                                         .begin = lmtp_begin,
                                         .feed = lmtp_feed,
                                         .finish = lmtp_finish,
                                         .abort = lmtp_abort};

static const struct smtp_dialect lmtp_dialect = {
    .name = "LMTP",
    .log_name = "lmtp",
    .with = "LMTP",
    .with_utf8 = "UTF8LMTP",
    .extensions = SMTP_LHLO | SMTP_PIPELINING | SMTP_SIZE | SMTP_STARTTLS | SMTP_ENHANCED |
                  SMTP_EIGHT | SMTP_BINARY | SMTP_CHUNKING | SMTP_UTF8,
    .reply_per_recipient = true,
    .ops = &lmtp_ops,
};

struct session_service *lmtp_service_new(const struct lmtp_settings *settings, struct mail *mail,
                                         struct directory *directory)
{
    struct lmtp *l = NEW(struct lmtp);

    l->settings = *settings;
    l->mail = mail;
    l->directory = directory;
    return smtp_service_new(&lmtp_dialect, &settings->smtp, l);
}

void lmtp_service_free(struct session_service *service)
{
    if (!service)
        return;
    free(smtp_service_context(service));
    smtp_service_free(service);
}
