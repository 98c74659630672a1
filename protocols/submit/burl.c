/* SPDX-License-Identifier: MPL-2.0 */
/* BURL (RFC 4468): pieces of the content that lie in accounts here.
 *
 * No IMAP server is asked: the URL is judged by the rules of URLFETCH (protocols/imap/urlauth.h),
 * with the role of the submission service on behalf of who is logged in, and read from the store.
 */
#include "protocols/imap/url_data.h"
#include "protocols/imap/urlauth.h"
#include "protocols/submit/impl.h"

#define PIECE_MAX ((size_t)256 << 10)

static int fail(struct smtp_reply *reply, int res, unsigned code, const char *enhanced,
                const char *text)
{
    smtp_reply_set(reply, code, enhanced, "%s", text);
    return res;
}

/* RFC 4468 section 6 */
static int refused(struct smtp_reply *reply, int res)
{
    if (res == -ERR_INVALID)
        return fail(reply, res, 554, "5.7.8", "URL resolution requires trust relationship");
    if (res == -ERR_NOPERM)
        return fail(reply, res, 554, "5.7.0", "IMAP URL authorization failed");
    if (res == -ERR_NOTFOUND)
        return fail(reply, res, 554, "5.6.6", "IMAP URL resolution failed");
    return fail(reply, res, 451, "4.4.1", "The mail cannot be reached, try again later");
}

static int open_url(struct submit *s, struct smtp_transaction *t, const struct imap_url *url,
                    struct url_data *ret, struct smtp_reply *reply)
{
    const struct client *client = t->client;
    const struct urlauth_asker asker = {
        .mail = s->parts.mail,
        .directory = s->parts.directory,
        .hosts = t->settings->url_hosts,
        .account = client->account.id,
        .login = client->account.login,
        .submits = true,
    };
    struct error err = {0};
    struct account *account;
    struct state *st;
    int r = urlauth_admit(&asker, url, &account, &st, &err);

    if (r < 0)
        return refused(reply, r);
    r = url_data_open(account, st, url, ret, &err);
    state_unref(st);
    account_unref(account);
    return r < 0 ? refused(reply, r) : 0;
}

/* Section 4: "If the URL argument to BURL refers to binary data, then the submit server MAY refuse
 * the command". A client that has not read what it sends cannot know that it is 8 bit. */
static int check_piece(struct smtp_transaction *t, struct slice bytes, struct smtp_reply *reply)
{
    if (t->body != QUEUE_BINARYMIME && slice_find(bytes, 0) >= 0)
        return fail(reply, -ERR_INVALID, 554, "5.6.3", "Conversion required but not supported");
    for (size_t i = 0; i < bytes.n && t->body == QUEUE_7BIT; i++)
        if (bytes.p[i] & 0x80)
            t->body = QUEUE_8BITMIME;
    return 0;
}

static int give_all(struct smtp_transaction *t, struct url_data *data,
                    int (*give)(void *ctx, struct slice bytes), void *ctx, struct smtp_reply *reply)
{
    CLEANUP(buf_done) struct buf piece = buf_make(PIECE_MAX);
    struct error err = {0};
    int r;

    while ((r = url_data_read(data, &piece, &err)) > 0) {
        r = check_piece(t, buf_slice(&piece), reply);
        if (r == 0)
            r = give(ctx, buf_slice(&piece));
        if (r < 0)
            return r;
        piece.n = 0;
    }
    return r < 0 ? refused(reply, r) : 0;
}

int submit_url(void *service, struct smtp_transaction *t, struct slice text,
               int (*give)(void *ctx, struct slice bytes), void *ctx, struct smtp_reply *reply)
{
    struct submit *s = service;
    uint64_t max = t->settings->message_max;
    struct url_data data;
    struct imap_url url;
    int r = imap_url_parse(text, &t->arena, &url, NULL);

    if (r < 0 || !url.host.n)
        return fail(reply, -ERR_INVALID, 554, "5.6.6", "That is no URL of a message");
    r = open_url(s, t, &url, &data, reply);
    if (r < 0)
        return r;
    if (data.size > max || t->received > max - data.size)
        r = fail(reply, -ERR_TOOBIG, 554, "5.3.4", "Message too big for system");
    else
        r = give_all(t, &data, give, ctx, reply);
    url_data_close(&data);
    if (r == 0)
        submit_count(&s->parts.counters->urls, 1);
    return r;
}
