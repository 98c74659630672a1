/* SPDX-License-Identifier: MPL-2.0 */
/* Accounts: made, found, changed, renamed, closed. The order of the steps is in directory.h. */
#include "lib/auth/directory.h"

#include <stdlib.h>
#include <string.h>

#include "lib/auth/directory_impl.h"
#include "lib/auth/password.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"

#define DISPLAY_MAX 500
/* Guarded changes that others keep overtaking are given up after so many rounds. */
#define ROUNDS 8

struct directory *directory_new(struct store *store, const struct directory_options *options)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory *d = NEW(struct directory);
    const char *domain = options->default_domain ? options->default_domain : "";

    /* A default domain that is none would only make every address without one fail: so it does. */
    if (domain_normalise(slice_str(domain), &a, &domain, NULL) < 0)
        domain = "";
    d->store = store;
    d->options = *options;
    d->options.default_domain = mem_strdup(domain);
    d->cache = !store || store_is_atomic(store) ? NULL : directory_cache_new();
    return d;
}

void directory_free(struct directory *d)
{
    if (!d)
        return;
    directory_cache_free(d->cache);
    free((char *)d->options.default_domain);
    free(d);
}

/* ---- reading ---- */

int directory_account_get(struct directory *d, uint64_t id, struct arena *a,
                          struct directory_account *ret, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key8 key = key_account(id);
    int r = row_get(d, STORE_ACCOUNTS, KEY_SLICE(key), &docs, err);

    if (r < 0)
        return r;
    if (r == 0 || id == 0)
        return error_set(err, ERR_NOTFOUND, "there is no such account");
    r = account_decode(docs.items[0].head, a, ret, err);
    if (r < 0)
        return r;
    ret->id = id;
    ret->version = docs.items[0].version;
    return 0;
}

int directory_account_find(struct directory *d, struct slice login, struct arena *a,
                           struct directory_account *ret, struct error *err)
{
    struct directory_alias row = {0};
    struct address address;
    int r = address_parse(d, login, false, a, &address, err);

    /* The same reads whether or not there is such an account: time must not tell. */
    if (r == 0)
        r = address_row(d, address.full, a, &row, err);
    else
        r = address_row(d, "@@@", a, &row, err);
    if (r < 0)
        return r;
    return directory_account_get(d, row.account, a, ret, err);
}

int directory_account_list(struct directory *d, uint64_t after, size_t limit, struct arena *a,
                           struct directory_account **ret, size_t *ret_n, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key8 key = key_account(after);
    struct directory_account *items;
    int r = row_range(d, STORE_ACCOUNTS, KEY_SLICE(key), limit, &docs, err);

    if (r < 0)
        return r;
    items = arena_array(a, docs.n, sizeof *items);
    for (size_t i = 0; i < docs.n; i++) {
        uint64_t id = docs.items[i].key.n == 8 ? get_be64(docs.items[i].key.p) : 0;

        r = account_decode(docs.items[i].head, a, &items[i], err);
        if (r < 0) {
            (void)error_prefix(err, "account %016llx", (unsigned long long)id);
            return r;
        }
        items[i].id = id;
        items[i].version = docs.items[i].version;
    }
    *ret = items;
    *ret_n = docs.n;
    return 0;
}

/* ---- making ---- */

/* A login as a person wrote it, as an address of ours without detail. */
static int parse_login(struct directory *d, struct slice login, struct arena *a,
                       struct address *ret, struct error *err)
{
    int r = address_parse(d, login, false, a, ret, err);

    if (r < 0)
        return r;
    if (*ret->detail || strcmp(ret->full, ret->key) != 0)
        return error_set(err, ERR_INVALID, "a login cannot have '%c' in it", d->options.delimiter);
    r = directory_domain_is_local(d, ret->domain, err);
    if (r == 0)
        return error_set(err, ERR_NOTFOUND, "the domain %s is not ours: eider domain add",
                         ret->domain);
    return r < 0 ? r : 0;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

static bool is_name(const char *s)
{
    return *s && strlen(s) <= DIRECTORY_APP_PASSWORD_NAME_MAX && utf8_valid(slice_str(s)) &&
           !has_control(s);
}

static bool is_known(const char *hash)
{
    return !hash || !*hash || password_hash_known(hash);
}

static int check_account(const struct directory_account *account, struct error *err)
{
    const char *display = account->display ? account->display : "";

    if (strlen(display) > DISPLAY_MAX || !utf8_valid(slice_str(display)) || has_control(display))
        return error_set(err, ERR_INVALID,
                         "the name is longer than %d bytes, not UTF-8, or has control characters",
                         DISPLAY_MAX);
    for (size_t i = 0; i < account->app_passwords_n; i++)
        if (!is_name(account->app_passwords[i].name))
            return error_set(err, ERR_INVALID,
                             "the name of an app password is empty, longer than %d bytes, not "
                             "UTF-8, or has control characters",
                             DIRECTORY_APP_PASSWORD_NAME_MAX);
    if (!is_known(account->hash) || !is_known(account->scram) || !is_known(account->scram_sha1))
        return error_set(err, ERR_INVALID, "the password's hash is of an unknown kind");
    return 0;
}

static uint64_t new_id(void)
{
    uint64_t id;

    do
        id = random_u64();
    while (id == 0);
    return id;
}

static int insert_account(struct directory *d, struct directory_account *account, struct error *err)
{
    CLEANUP(buf_done) struct buf value = buf_make(DIRECTORY_VALUE_MAX);
    int r;

    account_encode(account, &value);
    for (int i = 0; i < ROUNDS; i++) {
        struct key8 key;

        account->id = new_id();
        key = key_account(account->id);
        r = row_insert(d, STORE_ACCOUNTS, KEY_SLICE(key), buf_slice(&value), err);
        if (r != -ERR_EXISTS)
            return r;
    }
    return error_set(err, ERR_INTERNAL, "no free account id was found");
}

static int insert_login(struct directory *d, const char *key, uint64_t id, struct error *err)
{
    CLEANUP(buf_done) struct buf value = buf_make(64);
    int r;

    alias_encode(&(struct directory_alias){.account = id}, &value);
    r = row_insert(d, STORE_ADDRESSES, slice_str(key), buf_slice(&value), err);
    return r == -ERR_EXISTS ? error_set(err, ERR_EXISTS, "the address %s is taken", key) : r;
}

/* Takes back an account that was never reachable. */
static void take_back(struct directory *d, uint64_t id)
{
    struct key8 key = key_account(id);
    struct slice slice = KEY_SLICE(key);

    /* What stays if this fails is unreachable; directory_check finds it. */
    if (store_delete(d->store, STORE_ACCOUNTS, &slice, 1, NULL) < 0)
        return;
}

int directory_account_add(struct directory *d, const struct directory_account *wanted,
                          int (*prepare)(void *context, uint64_t id, struct error *err),
                          void *context, uint64_t *ret_id, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account account = *wanted;
    struct directory_alias there;
    struct address address;
    int r = parse_login(d, slice_str(wanted->login), &a, &address, err);

    if (r < 0 || (r = check_account(wanted, err)) < 0)
        return r;
    /* Only to leave no traces of what cannot succeed: the insert below decides. */
    r = address_row(d, address.key, &a, &there, err);
    if (r != 0)
        return r < 0 ? r : error_set(err, ERR_EXISTS, "the address %s is taken", address.key);
    account.login = address.key;
    account.status = wanted->status ? wanted->status : ACCOUNT_ENABLED;
    account.created_ms = clock_wall_ms();
    r = insert_account(d, &account, err);
    if (r < 0)
        return r;
    r = prepare ? prepare(context, account.id, err) : 0;
    if (r == 0)
        r = insert_login(d, address.key, account.id, err);
    if (r == 0)
        *ret_id = account.id;
    else if (r != -ERR_UNKNOWN_OUTCOME)
        take_back(d, account.id);
    return r;
}

/* ---- changing ---- */

int directory_account_update(struct directory *d, struct directory_account *account,
                             struct error *err)
{
    CLEANUP(buf_done) struct buf value = buf_make(DIRECTORY_VALUE_MAX);
    struct key8 key = key_account(account->id);
    int r = check_account(account, err);

    if (r < 0)
        return r;
    account_encode(account, &value);
    r = row_replace(d, STORE_ACCOUNTS, KEY_SLICE(key), account->version, buf_slice(&value),
                    &account->version, err);
    if (r == -ERR_CONFLICT)
        return error_set(err, ERR_CONFLICT, "somebody else changed the account: try again");
    return r;
}

/* Removes the login row if it is (still) this account's. */
static int remove_login(struct directory *d, const char *key, uint64_t id, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_alias row;
    int r = -ERR_CONFLICT;

    for (int i = 0; r == -ERR_CONFLICT && i < ROUNDS; i++) {
        r = address_row(d, key, &a, &row, err);
        if (r < 0)
            return r;
        if (r == 0 || row.account != id)
            return 0;
        r = row_remove(d, STORE_ADDRESSES, slice_str(key), row.version, err);
    }
    return r;
}

int directory_account_rename(struct directory *d, struct directory_account *account,
                             struct slice login, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account renamed = *account;
    struct address address;
    int r = parse_login(d, login, &a, &address, err);

    if (r < 0)
        return r;
    if (strcmp(address.key, account->login) == 0)
        return 0;
    r = insert_login(d, address.key, account->id, err);
    if (r < 0)
        return r;
    renamed.login = address.key;
    r = directory_account_update(d, &renamed, err);
    if (r == -ERR_UNKNOWN_OUTCOME)
        return r;
    if (r < 0) {
        int undone = remove_login(d, address.key, account->id, NULL);

        return undone == -ERR_UNKNOWN_OUTCOME ? undone : r;
    }
    account->version = renamed.version;
    return remove_login(d, account->login, account->id, err);
}

/* ---- closing ---- */

static int mark_closing(struct directory *d, uint64_t id, struct arena *a,
                        struct directory_account *ret, struct error *err)
{
    int r = -ERR_CONFLICT;

    for (int i = 0; r == -ERR_CONFLICT && i < ROUNDS; i++) {
        r = directory_account_get(d, id, a, ret, err);
        if (r < 0 || ret->status == ACCOUNT_CLOSING)
            return r;
        ret->status = ACCOUNT_CLOSING;
        ret->hash = ret->scram = ret->scram_sha1 = "";
        ret->app_passwords_n = 0;
        r = directory_account_update(d, ret, err);
    }
    return r;
}

int directory_account_close(struct directory *d, uint64_t id,
                            int (*close)(void *context, uint64_t id, struct error *err),
                            void *context, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account account;
    int r = mark_closing(d, id, &a, &account, err);

    if (r == 0 && close)
        r = close(context, id, err);
    return r < 0 ? r : remove_login(d, account.login, id, err);
}

int directory_account_forget(struct directory *d, uint64_t id, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct key8 key = key_account(id);
    struct directory_account account;
    int r = directory_account_get(d, id, &a, &account, err);

    if (r < 0)
        return r;
    if (account.status != ACCOUNT_CLOSING)
        return error_set(err, ERR_INVALID, "the account is not closed");
    r = remove_login(d, account.login, id, err);
    return r < 0 ? r : row_remove(d, STORE_ACCOUNTS, KEY_SLICE(key), account.version, err);
}
