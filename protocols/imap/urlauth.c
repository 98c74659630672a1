/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/urlauth.h"

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define ALGORITHM  "01"
#define SECRET_MAX 128 /* octets of a secret's text that count */

/* --- tokens ------------------------------------------------------------------------------------
 */

static void mailbox_key(const struct state *st, const struct mailbox *box, uint8_t ret[SHA256_SIZE])
{
    struct slice own = slice_sub(mailbox_value(box, S(VALUE_URLAUTH)), 0, SECRET_MAX);
    uint8_t text[8 + SECRET_MAX];

    put_be64(text, box->id);
    if (own.n)
        memcpy(text + 8, own.p, own.n);
    digest_hmac_sha256(state_value(st, S(VALUE_URLAUTH)), slice_of(text, 8 + own.n), ret);
    secret_wipe(text, sizeof text);
}

/* st NULL, or no such mailbox: section 6: "an authorization token is calculated on the rump URL,
 * using random "plausible" keys ... as needed, before returning a validation failure." */
static void token_of(const struct state *st, const struct mailbox *box, struct slice rump,
                     uint8_t ret[SHA256_SIZE])
{
    uint8_t key[SHA256_SIZE];

    random_bytes(key, sizeof key);
    if (st && box && state_value(st, S(VALUE_URLAUTH)).n)
        mailbox_key(st, box, key);
    digest_hmac_sha256(slice_of(key, sizeof key), rump, ret);
    secret_wipe(key, sizeof key);
}

struct slice urlauth_secret(struct arena *arena)
{
    CLEANUP(buf_done) struct buf text = buf_make(SECRET_MAX);
    uint8_t bytes[SHA256_SIZE];

    random_bytes(bytes, sizeof bytes);
    hex_encode(&text, slice_of(bytes, sizeof bytes));
    return arena_slice(arena, buf_slice(&text));
}

void urlauth_add_token(const struct state *st, const struct mailbox *box, struct slice rump,
                       struct buf *out)
{
    uint8_t token[SHA256_SIZE];

    token_of(st, box, rump, token);
    buf_add_str(out, ":internal:" ALGORITHM);
    hex_encode(out, slice_of(token, sizeof token));
}

static bool token_is_right(const struct state *st, const struct imap_url *url)
{
    CLEANUP(buf_done) struct buf given = buf_make(URL_MAX);
    const struct mailbox *box = st ? state_mailbox_named(st, url->mailbox) : NULL;
    uint8_t token[SHA256_SIZE];

    token_of(st, box, url->rump, token);
    return slice_starts(url->token, S(ALGORITHM)) &&
           hex_decode(&given, slice_skip(url->token, sizeof ALGORITHM - 1)) == 0 &&
           secret_eq(buf_slice(&given), slice_of(token, sizeof token));
}

/* --- who asks ----------------------------------------------------------------------------------
 */

/* Without its port; "[2001:db8::1]" with its brackets. */
static struct slice host_name(struct slice host)
{
    ssize_t end = host.n && host.p[0] == '[' ? slice_find(host, ']') + 1 : slice_find(host, ':');

    return slice_sub(host, 0, end <= 0 ? host.n : (size_t)end);
}

bool urlauth_is_our_host(const char *hosts, struct slice host)
{
    struct slice rest = slice_str(hosts), name = host_name(host);

    while ((rest = slice_trim(rest)).n) {
        ssize_t end = slice_find(rest, ' ');
        struct slice word = slice_sub(rest, 0, end < 0 ? rest.n : (size_t)end);

        if (slice_eq(word, S("*")) || slice_ieq(word, name))
            return true;
        rest = slice_skip(rest, word.n);
    }
    return false;
}

bool urlauth_is_user(struct directory *directory, struct slice user, const char *login)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct address address;

    return address_parse(directory, user, false, &arena, &address, NULL) == 0 &&
           strcmp(address.full, login) == 0;
}

static bool is_for(const struct urlauth_asker *asker, const struct imap_url *url)
{
    switch (url->access) {
    case URL_NO_ACCESS:
        return asker->submits &&
               (!url->user.n || urlauth_is_user(asker->directory, url->user, asker->login));
    case URL_SUBMIT:
        return asker->submits && urlauth_is_user(asker->directory, url->access_user, asker->login);
    case URL_USER:
        return urlauth_is_user(asker->directory, url->access_user, asker->login);
    default: /* nobody is logged in as "anonymous" */
        return true;
    }
}

static int refuse(struct error *err)
{
    return error_set(err, ERR_NOPERM, "The URL is not authorized");
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static int check_terms(const struct urlauth_asker *asker, const struct imap_url *url,
                       struct error *err)
{
    if (!url->host.n || !urlauth_is_our_host(asker->hosts, url->host))
        return error_set(err, ERR_INVALID, "The URL is not one of this server");
    if (!is_for(asker, url))
        return refuse(err);
    /* section 3: "the latest date and time that the URL is valid" */
    if (url->expires && clock_wall_ms() / 1000 > url->expiry)
        return refuse(err);
    if (url->access != URL_NO_ACCESS && !slice_ieq(url->mechanism, S(URLAUTH_MECHANISM)))
        return refuse(err);
    return 0;
}

/* Whose mail it is, if he may have any. */
static int find_owner(const struct urlauth_asker *asker, const struct imap_url *url, uint64_t *ret,
                      struct error *err)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct directory_account owner = {0};
    int r;

    *ret = asker->account;
    if (url->access == URL_NO_ACCESS)
        return 0;
    r = directory_account_find(asker->directory, url->user, &arena, &owner, err);
    if (r == 0 && owner.status != ACCOUNT_ENABLED)
        r = -ERR_NOTFOUND;
    *ret = owner.id;
    return r;
}

int urlauth_admit(const struct urlauth_asker *asker, const struct imap_url *url,
                  struct account **ret_account, struct state **ret_st, struct error *err)
{
    struct account *account = NULL;
    struct state *st = NULL;
    uint64_t owner = 0;
    int r = check_terms(asker, url, err);

    if (r < 0)
        return r;
    r = find_owner(asker, url, &owner, err);
    if (r == 0)
        r = account_open(asker->mail, owner, &account, err);
    if (r == 0)
        st = account_state(account);
    if (r < 0 && r != -ERR_NOTFOUND)
        return r;
    if (url->access != URL_NO_ACCESS && !token_is_right(st, url))
        r = -ERR_NOTFOUND;
    if (r == 0) {
        *ret_account = account;
        *ret_st = st;
        return 0;
    }
    state_unref(st);
    if (account)
        account_unref(account);
    return refuse(err);
}
