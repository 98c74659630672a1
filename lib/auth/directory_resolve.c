/* SPDX-License-Identifier: MPL-2.0 */
/* Who gets the mail for an address: aliases are followed level by level, each level with one read
 * of the store for all its addresses; then one read for all accounts. A plain user costs two, or
 * none where the store is across the network and the answer a second old at most
 * (directory_cache.c). */
#include <string.h>

#include "lib/auth/directory_impl.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"

struct step {
    struct address address;
    const char *detail; /* its own, or that of the address that led here */
};

struct resolution {
    struct directory *d;
    struct arena *arena;
    unsigned flags;
    VEC(struct step) now, next; /* this level's addresses, and those that they lead to */
    VEC(const char *) seen;     /* keys that have been followed: loops end here */
    VEC(struct directory_recipient) found;
    unsigned depth;
    bool disabled; /* met an account that takes no mail */
};

static void resolution_done(struct resolution *r)
{
    VEC_DONE(&r->now);
    VEC_DONE(&r->next);
    VEC_DONE(&r->seen);
    VEC_DONE(&r->found);
}

/* 1 new, 0 met before, -ERR_LIMIT. */
static int note_seen(struct resolution *r, const char *key, struct error *err)
{
    for (size_t i = 0; i < r->seen.n; i++)
        if (strcmp(r->seen.items[i], key) == 0)
            return 0;
    if (r->seen.n >= DIRECTORY_TARGETS_MAX)
        return error_set(err, ERR_LIMIT, "the address leads to more than %d others",
                         DIRECTORY_TARGETS_MAX);
    *VEC_PUSH(&r->seen) = key;
    return 1;
}

static void add_account(struct resolution *r, uint64_t id, const char *detail)
{
    for (size_t i = 0; i < r->found.n; i++)
        if (r->found.items[i].account == id)
            return;
    *VEC_PUSH(&r->found) = (struct directory_recipient){.account = id, .detail = detail};
}

static int add_foreign(struct resolution *r, const char *key, struct error *err)
{
    if (!(r->flags & RESOLVE_FOREIGN))
        return error_set(err, ERR_NOPERM,
                         "the address is forwarded to another server (%.100s), which is not "
                         "possible yet",
                         key);
    *VEC_PUSH(&r->found) = (struct directory_recipient){.foreign = key, .detail = ""};
    return 0;
}

/* An address without a row: somebody elsewhere, or nobody. */
static int not_here(struct resolution *r, const struct step *step, struct error *err)
{
    int local;

    if (r->depth == 0)
        return 0;
    local = directory_domain_is_local(r->d, step->address.domain, err);
    if (local != 0)
        return local < 0 ? local : 0;
    return add_foreign(r, *step->address.detail ? step->address.full : step->address.key, err);
}

static int follow_alias(struct resolution *r, const struct directory_alias *alias,
                        const char *detail, struct error *err)
{
    for (size_t i = 0; i < alias->targets_n; i++) {
        struct step step;
        int ret =
            address_parse(r->d, slice_str(alias->targets[i]), false, r->arena, &step.address, err);

        if (ret == 0)
            ret = note_seen(r, step.address.full, err);
        if (ret < 0)
            return ret;
        if (ret == 0)
            continue;
        step.detail = *step.address.detail ? step.address.detail : detail;
        *VEC_PUSH(&r->next) = step;
    }
    return 0;
}

/* The three rows that can stand for an address, best first. */
enum { ROW_FULL, ROW_KEY, ROW_CATCH_ALL, ROWS };

static int take_step(struct resolution *r, const struct step *step, const struct store_doc *rows,
                     struct error *err)
{
    struct directory_alias alias;
    const char *detail = step->detail;
    int row = 0, ret;

    while (row < ROWS && !rows[row].found)
        row++;
    if (row == ROWS)
        return not_here(r, step, err);
    ret = alias_decode(rows[row].head, r->arena, &alias, err);
    if (ret < 0)
        return ret;
    /* The row that names the detail has used it up; a catch-all's owner has no such mailboxes. */
    if (row == ROW_CATCH_ALL || (row == ROW_FULL && *step->address.detail))
        detail = "";
    if (alias.account == 0)
        return follow_alias(r, &alias, detail, err);
    add_account(r, alias.account, detail);
    return 0;
}

static int take_level(struct resolution *r, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    size_t n = r->now.n;
    struct slice *keys = arena_array(r->arena, n * ROWS, sizeof *keys);
    int ret;

    for (size_t i = 0; i < n; i++) {
        const struct address *address = &r->now.items[i].address;

        keys[i * ROWS + ROW_FULL] = slice_str(address->full);
        keys[i * ROWS + ROW_KEY] = slice_str(address->key);
        keys[i * ROWS + ROW_CATCH_ALL] = slice_str(arena_printf(r->arena, "@%s", address->domain));
    }
    ret = store_get(r->d->store, STORE_ADDRESSES, keys, n * ROWS, STORE_HEAD, STORE_MAJORITY, &docs,
                    err);
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = take_step(r, &r->now.items[i], &docs.items[i * ROWS], err);
    return ret;
}

static int take_levels(struct resolution *r, struct error *err)
{
    while (r->now.n) {
        int ret = take_level(r, err);

        if (ret < 0)
            return ret;
        r->now.n = 0;
        for (size_t i = 0; i < r->next.n; i++)
            *VEC_PUSH(&r->now) = r->next.items[i];
        r->next.n = 0;
        if (++r->depth > DIRECTORY_DEPTH_MAX && r->now.n)
            return error_set(err, ERR_LIMIT, "aliases are nested deeper than %d",
                             DIRECTORY_DEPTH_MAX);
    }
    return 0;
}

/* Keeps the recipient if its account takes mail. */
static int check_account(struct resolution *r, const struct store_doc *doc,
                         struct directory_recipient *recipient, struct error *err)
{
    struct directory_account account;
    int ret;

    if (!doc->found)
        return 0;
    ret = account_decode(doc->head, r->arena, &account, err);
    if (ret < 0)
        return ret;
    r->disabled |= account.status == ACCOUNT_DISABLED;
    recipient->login = account.login;
    recipient->message_size = account.message_size;
    return account.status == ACCOUNT_ENABLED;
}

static int check_accounts(struct resolution *r, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    size_t n = r->found.n, kept = 0;
    struct key8 *keys = arena_array(r->arena, n, sizeof *keys);
    struct slice *slices = arena_array(r->arena, n, sizeof *slices);
    int ret = 0;

    for (size_t i = 0; i < n; i++) {
        keys[i] = key_account(r->found.items[i].account);
        slices[i] = KEY_SLICE(keys[i]);
    }
    if (n)
        ret = store_get(r->d->store, STORE_ACCOUNTS, slices, n, STORE_HEAD, STORE_MAJORITY, &docs,
                        err);
    for (size_t i = 0; ret >= 0 && i < n; i++) {
        struct directory_recipient recipient = r->found.items[i];

        ret = recipient.foreign ? 1 : check_account(r, &docs.items[i], &recipient, err);
        if (ret == 1)
            r->found.items[kept++] = recipient;
    }
    r->found.n = kept;
    return ret < 0 ? ret : 0;
}

static int resolve(struct resolution *r, struct slice text, struct error *err)
{
    struct step first;
    int result = address_parse(r->d, text, false, r->arena, &first.address, err);

    if (result < 0)
        return result;
    first.detail = first.address.detail;
    *VEC_PUSH(&r->now) = first;
    *VEC_PUSH(&r->seen) = first.address.full;
    result = take_levels(r, err);
    if (result == 0)
        result = check_accounts(r, err);
    if (result < 0 || r->found.n)
        return result;
    return r->disabled ? error_set(err, ERR_NOPERM, "the account is disabled")
                       : error_set(err, ERR_NOTFOUND, "there is no such address here");
}

int directory_resolve(struct directory *d, struct slice text, unsigned flags, struct arena *a,
                      struct directory_recipient **ret, size_t *ret_n, struct error *err)
{
    CLEANUP(resolution_done) struct resolution r = {.d = d, .arena = a, .flags = flags};
    const char *key = arena_printf(a, "%u %.*s", flags, SLICE_FMT(text));
    uint64_t changes = 0;
    int result;

    if (d->cache && directory_cache_get(d->cache, key, a, ret, ret_n, &changes))
        return 0;
    result = resolve(&r, text, err);
    if (result < 0)
        return result;
    *ret = arena_array(a, r.found.n, sizeof **ret);
    memcpy(*ret, r.found.items, r.found.n * sizeof **ret);
    *ret_n = r.found.n;
    if (d->cache)
        directory_cache_put(d->cache, key, *ret, *ret_n, changes);
    return 0;
}
