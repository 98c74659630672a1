/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 2033, RFC 5321 section 4.4 (trace fields), RFC 3848 (with LMTP, LMTPS), RFC 3463
 * (codes). */
#include "protocols/lmtp/lmtp.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/mail/message.h"

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

/* One account that gets the message; several recipients may lead to it. */
struct delivery {
    uint64_t account;
    struct intent intent;
    struct prepared *prepared;
};

/* --- replies -------------------------------------------------------------------------------------
 */

struct reply_row {
    unsigned code;
    const char *enhanced, *text;
};

/* Kinds of failure at RCPT and at the end of the content, as RFC 3463 has them. */
static const struct reply_row rcpt_replies[ERR_COUNT_] = {
    [ERR_INVALID] = {553, "5.1.3", "That is not an address"},
    [ERR_NOTFOUND] = {550, "5.1.1", "There is no such user here"},
    [ERR_NOPERM] = {550, "5.2.1", "This user gets no mail here"},
    [ERR_LIMIT] = {550, "5.4.6", "The address leads to too many others"},
    [ERR_UNAVAILABLE] = {451, "4.3.0", "The mail store cannot be reached, try again later"},
};

static const struct reply_row delivery_replies[ERR_COUNT_] = {
    [ERR_NONE] = {250, "2.0.0", "Stored"},
    [ERR_INVALID] = {550, "5.6.0", "The message cannot be stored"},
    [ERR_NOTFOUND] = {550, "5.1.1", "The user is gone"},
    [ERR_NOPERM] = {550, "5.2.1", "This user gets no mail any more"},
    [ERR_LIMIT] = {452, "4.2.2", "The mailbox holds as many messages as it can"},
    [ERR_TOOBIG] = {552, "5.3.4", "The message is too large"},
    [ERR_UNAVAILABLE] = {451, "4.3.0", "The mail store cannot be reached, try again later"},
    [ERR_UNKNOWN_OUTCOME] = {451, "4.3.0",
                             "It is not known whether the message was stored, try again"},
};

static const struct reply_row over_quota[2] = {
    {452, "4.2.2", "The user is over quota"},
    {552, "5.2.2", "The user is over quota"},
};
static const struct reply_row internal_error = {451, "4.3.0", "Internal error, try again later"};

static void set_reply(struct smtp_reply *reply, const struct reply_row *rows, int res)
{
    const struct reply_row *row = &rows[-res < ERR_COUNT_ ? -res : ERR_INTERNAL];

    if (!row->code)
        row = &internal_error;
    smtp_reply_set(reply, row->code, row->enhanced, "%s", row->text);
}

static void set_delivery_reply(const struct lmtp *l, struct smtp_reply *reply, int res)
{
    if (res == -ERR_QUOTA)
        set_reply(reply, &over_quota[l->settings.over_quota_permanent], 0);
    else
        set_reply(reply, delivery_replies, res);
}

/* --- recipients
 * ------------------------------------------------------------------------------------ */

static int lmtp_rcpt(void *service, struct smtp_transaction *t, struct smtp_recipient *recipient,
                     struct smtp_reply *reply)
{
    struct lmtp *l = service;
    struct rcpt *rcpt = ARENA_NEW(&t->arena, struct rcpt);
    struct error err = {0};
    int res = directory_resolve(l->directory, slice_str(recipient->address), 0, &t->arena,
                                &rcpt->items, &rcpt->n, &err);

    if (res < 0) {
        set_reply(reply, rcpt_replies, res);
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

/* --- content
 * --------------------------------------------------------------------------------------- */

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
        set_delivery_reply(service, reply, res);
    return res;
}

static void lmtp_abort(void *service, struct smtp_transaction *t)
{
    struct incoming *in = t->content;

    message_writer_free(in->writer);
    free(in);
    t->content = NULL;
}

/* RFC 5321 section 4.4. The client's name is what it said, its address what we saw. */
static void trace_received(const struct smtp_transaction *t, struct buf *out)
{
    struct civil c = civil_from_unix(clock_wall_ms() / 1000, 0);
    const char *remote = t->peer->remote;
    bool ip = remote[0] && (strchr(remote, '.') || strchr(remote, ':'));

    buf_printf(out, "Received: from %s", t->helo);
    if (ip)
        buf_printf(out, " ([%s%s])", strchr(remote, ':') ? "IPv6:" : "", remote);
    buf_printf(out, "\r\n\tby %s (Eider) with %s", t->settings->hostname, t->with);
    if (t->peer->tls)
        buf_printf(out, "\r\n\t(%s %s)", t->peer->tls_version, t->peer->tls_cipher);
    buf_printf(out, ";\r\n\t%s, %d %s %04d %02d:%02d:%02d +0000\r\n",
               clock_day_names[civil_weekday(&c)], c.day, clock_month_names[c.month - 1], c.year,
               c.hour, c.minute, c.second);
}

/* "the same bytes from the same sender" (I24): not the trace lines, which differ at each try. */
static void delivery_hash(const struct smtp_transaction *t, const struct prepared *base,
                          uint8_t ret[DELIVERY_HASH_SIZE])
{
    CLEANUP(buf_done) struct buf text = buf_make(2048 + SMTP_LINE_MAX);
    uint8_t bytes[SHA256_SIZE], hash[SHA256_SIZE];

    prepared_hash(base, bytes);
    buf_add(&text, bytes, sizeof bytes);
    buf_add_str(&text, t->sender);
    digest_sha256(buf_slice(&text), hash);
    memcpy(ret, hash, DELIVERY_HASH_SIZE);
}

static int add_head(const struct smtp_transaction *t, struct prepared *base, struct slice received,
                    const char *login, struct prepared **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf head = buf_make(64 << 10);

    buf_printf(&head, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", t->sender, login);
    buf_add_slice(&head, received);
    return prepared_with_head(base, buf_slice(&head), ret, err);
}

/* All accounts of all recipients, each once. */
struct deliveries {
    struct delivery *items;
    size_t n;
    struct intent **intents;
    size_t n_intents;
};

static struct delivery *find_delivery(struct deliveries *all, uint64_t account)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].account == account)
            return &all->items[i];
    return NULL;
}

static int plan_one(struct lmtp *l, struct smtp_transaction *t, struct prepared *base,
                    struct slice received, const struct directory_recipient *to,
                    struct deliveries *all)
{
    struct delivery *d = &all->items[all->n++];
    struct intent *it = &d->intent;

    d->account = to->account;
    it->kind = INTENT_DELIVER;
    it->result = add_head(t, base, received, to->login, &d->prepared, &it->error);
    if (it->result < 0)
        return it->result;
    if (to->message_size && prepared_size(d->prepared) > to->message_size) {
        it->result = -ERR_TOOBIG;
        return it->result;
    }
    it->account = account_get(l->mail, to->account);
    it->prepared = d->prepared;
    it->name = to->detail[0] ? slice_str(to->detail) : S("INBOX");
    it->else_inbox = true;
    delivery_hash(t, base, it->delivery);
    all->intents[all->n_intents++] = it;
    return 0;
}

static void plan(struct lmtp *l, struct smtp_transaction *t, struct prepared *base,
                 struct deliveries *all)
{
    CLEANUP(buf_done) struct buf received = buf_make(8192);
    size_t most = 0;

    for (size_t i = 0; i < t->recipients.n; i++)
        most += ((struct rcpt *)t->recipients.items[i].context)->n;
    all->items = arena_array(&t->arena, most, sizeof *all->items);
    all->intents = arena_array(&t->arena, most, sizeof *all->intents);
    trace_received(t, &received);
    for (size_t i = 0; i < t->recipients.n; i++) {
        const struct rcpt *rcpt = t->recipients.items[i].context;

        for (size_t k = 0; k < rcpt->n; k++)
            if (!find_delivery(all, rcpt->items[k].account))
                (void)!plan_one(l, t, base, buf_slice(&received), &rcpt->items[k], all);
    }
}

/* A recipient that leads to several accounts gets the reply of the worst one: what was stored is
 * stored once even if the MTA then tries again. Temporary beats permanent, so that it does. */
static int result_of(struct deliveries *all, const struct rcpt *rcpt)
{
    int worst = 0;

    for (size_t i = 0; i < rcpt->n; i++) {
        int res = find_delivery(all, rcpt->items[i].account)->intent.result;

        if (res == -ERR_UNAVAILABLE || res == -ERR_UNKNOWN_OUTCOME)
            return res;
        if (res < 0)
            worst = res;
    }
    return worst;
}

static void deliver(struct lmtp *l, struct smtp_transaction *t, struct prepared *base)
{
    struct deliveries all = {0};

    plan(l, t, base, &all);
    if (all.n_intents)
        mail_commit(l->mail, all.intents, all.n_intents);
    for (size_t i = 0; i < t->recipients.n; i++)
        set_delivery_reply(l, &t->recipients.items[i].reply,
                           result_of(&all, t->recipients.items[i].context));
    for (size_t i = 0; i < all.n; i++) {
        intent_done(&all.items[i].intent);
        if (all.items[i].intent.account)
            account_unref(all.items[i].intent.account);
        prepared_unref(all.items[i].prepared);
    }
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
            set_delivery_reply(l, &t->recipients.items[i].reply, res);
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
    .name = "LMTP", .hello = "LHLO", .reply_per_recipient = true, .ops = &lmtp_ops};

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
