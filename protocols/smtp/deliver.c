/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 5321 section 4.4 (Return-Path), RFC 9228 (Delivered-To), RFC 3463 (codes). */
#include "protocols/smtp/deliver.h"

#include "lib/base/codec.h"

#define HEAD_MAX ((size_t)64 << 10)

/* --- replies -------------------------------------------------------------------------------------
 */

struct reply_row {
    unsigned code;
    const char *enhanced, *text;
};

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

void delivery_rcpt_reply(struct smtp_reply *reply, int res)
{
    set_reply(reply, rcpt_replies, res);
}

void delivery_reply(struct smtp_reply *reply, int res, bool over_quota_permanent)
{
    if (res == -ERR_QUOTA)
        set_reply(reply, &over_quota[over_quota_permanent], 0);
    else
        set_reply(reply, delivery_replies, res);
}

/* --- planning ------------------------------------------------------------------------------------
 */

void deliveries_init(struct deliveries *all, struct mail *mail, struct arena *arena, size_t at_most)
{
    *all = (struct deliveries){
        .mail = mail, .arena = arena, .items = arena_array(arena, at_most, sizeof *all->items)};
}

static struct delivery *find_delivery(const struct deliveries *all, uint64_t account)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].account == account && !all->items[i].extra)
            return &all->items[i];
    return NULL;
}

/* "the same bytes from the same sender" (I24): not the trace lines, which differ at each try. */
static void delivery_hash(const struct delivery_message *m, const char *salt,
                          uint8_t ret[DELIVERY_HASH_SIZE])
{
    CLEANUP(buf_done) struct buf text = buf_make(2048 + SMTP_LINE_MAX);
    uint8_t hash[SHA256_SIZE];

    buf_add(&text, m->hash, sizeof m->hash);
    buf_add_str(&text, m->sender);
    if (*salt) {
        buf_add_byte(&text, 0); /* no sender has one */
        buf_add_str(&text, salt);
    }
    digest_sha256(buf_slice(&text), hash);
    memcpy(ret, hash, DELIVERY_HASH_SIZE);
}

static int add_head(const struct delivery_message *m, const char *login, struct prepared **ret,
                    struct error *err)
{
    CLEANUP(buf_done) struct buf head = buf_make(HEAD_MAX);

    buf_printf(&head, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", m->sender, login);
    buf_add_slice(&head, m->received);
    return prepared_with_head(m->base, buf_slice(&head), ret, err);
}

static struct delivery *add(struct deliveries *all, uint64_t account, bool extra)
{
    struct delivery *d = &all->items[all->n++];

    d->account = account;
    d->extra = extra;
    d->intent.kind = INTENT_DELIVER;
    return d;
}

static void add_one(struct deliveries *all, const struct delivery_message *m,
                    const struct directory_recipient *to)
{
    struct delivery *d = add(all, to->account, false);
    struct intent *it = &d->intent;

    it->result = add_head(m, to->login, &d->prepared, &it->error);
    if (it->result == 0 && to->message_size && prepared_size(d->prepared) > to->message_size)
        it->result = -ERR_TOOBIG;
    if (it->result < 0)
        return;
    it->account = account_get(all->mail, to->account);
    it->prepared = d->prepared;
    it->name = to->detail[0] ? slice_str(to->detail) : S("INBOX");
    it->else_inbox = true;
    delivery_hash(m, "", it->delivery);
}

void deliveries_add(struct deliveries *all, const struct delivery_message *message,
                    const struct directory_recipient *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!to[i].foreign && !find_delivery(all, to[i].account))
            add_one(all, message, &to[i]);
}

struct delivery *deliveries_add_copy(struct deliveries *all, uint64_t account, struct slice mailbox,
                                     struct prepared *prepared,
                                     const struct delivery_message *message, const char *salt)
{
    struct delivery *d = add(all, account, true);

    d->prepared = prepared_ref(prepared);
    d->intent.account = account_get(all->mail, account);
    d->intent.prepared = prepared;
    d->intent.name = mailbox;
    delivery_hash(message, salt, d->intent.delivery);
    return d;
}

/* --- the round -----------------------------------------------------------------------------------
 */

void deliveries_commit(struct deliveries *all)
{
    struct intent **intents = arena_array(all->arena, all->n, sizeof *intents);
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].intent.account)
            intents[n++] = &all->items[i].intent;
    if (n)
        mail_commit(all->mail, intents, n);
}

/* A recipient that leads to several accounts gets the reply of the worst one: what was stored is
 * stored once even if the MTA then tries again. Temporary beats permanent, so that it does. */
int deliveries_result(const struct deliveries *all, const struct directory_recipient *to, size_t n)
{
    int worst = 0;

    for (size_t i = 0; i < n; i++) {
        int res = to[i].foreign ? 0 : find_delivery(all, to[i].account)->intent.result;

        if (res == -ERR_UNAVAILABLE || res == -ERR_UNKNOWN_OUTCOME)
            return res;
        if (res < 0)
            worst = res;
    }
    return worst;
}

void deliveries_done(struct deliveries *all)
{
    for (size_t i = 0; i < all->n; i++) {
        intent_done(&all->items[i].intent);
        if (all->items[i].intent.account)
            account_unref(all->items[i].intent.account);
        prepared_unref(all->items[i].prepared);
    }
    all->n = 0;
}
