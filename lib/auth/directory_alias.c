/* SPDX-License-Identifier: MPL-2.0 */
/* Aliases and domains. */
#include <string.h>

#include "lib/auth/directory_impl.h"
#include "lib/base/mem.h"

#define ROUNDS 8
#define PAGE   500

/* ---- aliases ---- */

static bool has_target(const struct directory_alias *alias, const char *target)
{
    for (size_t i = 0; i < alias->targets_n; i++)
        if (strcmp(alias->targets[i], target) == 0)
            return true;
    return false;
}

static int write_alias(struct directory *d, const struct directory_alias *alias, bool there,
                       struct error *err)
{
    CLEANUP(buf_done) struct buf value = buf_make(DIRECTORY_VALUE_MAX);
    struct slice key = slice_str(alias->address);
    int r;

    if (there && alias->targets_n == 0)
        return row_remove(d, STORE_ADDRESSES, key, alias->version, err);
    alias_encode(alias, &value);
    if (there)
        return row_replace(d, STORE_ADDRESSES, key, alias->version, buf_slice(&value), NULL, err);
    r = row_insert(d, STORE_ADDRESSES, key, buf_slice(&value), err);
    return r == -ERR_EXISTS ? -ERR_CONFLICT : r;
}

/* Reads the row, changes it by `change`, writes it; again while others overtake. */
struct alias_edit {
    const char *key;
    const char **targets;
    size_t n;
};

static int edit_alias(struct directory *d, const struct alias_edit *edit, struct arena *a,
                      int (*change)(const struct alias_edit *edit, struct arena *a, bool there,
                                    struct directory_alias *alias, struct error *err),
                      struct error *err)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct directory_alias alias = {.address = edit->key};
        int there = address_row(d, edit->key, a, &alias, err);
        int r = there;

        if (r >= 0 && alias.account)
            r = error_set(err, ERR_EXISTS, "%s is the login of an account", edit->key);
        if (r >= 0)
            r = change(edit, a, there == 1, &alias, err);
        if (r > 0)
            return 0; /* nothing to change */
        if (r == 0)
            r = write_alias(d, &alias, there == 1, err);
        if (r != -ERR_CONFLICT)
            return r;
    }
    return error_set(err, ERR_CONFLICT, "others keep changing %s: try again", edit->key);
}

static int add_targets(const struct alias_edit *edit, struct arena *a, bool there,
                       struct directory_alias *alias, struct error *err)
{
    const char **all = arena_array(a, alias->targets_n + edit->n, sizeof *all);
    size_t before = alias->targets_n;

    if (before)
        memcpy(all, alias->targets, before * sizeof *all);
    alias->targets = all;
    for (size_t i = 0; i < edit->n; i++)
        if (!has_target(alias, edit->targets[i]))
            all[alias->targets_n++] = edit->targets[i];
    if (alias->targets_n > DIRECTORY_TARGETS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d targets", DIRECTORY_TARGETS_MAX);
    return alias->targets_n == before;
}

static int remove_targets(const struct alias_edit *edit, struct arena *a, bool there,
                          struct directory_alias *alias, struct error *err)
{
    const struct directory_alias gone = {.targets = edit->targets, .targets_n = edit->n};
    size_t before = alias->targets_n;

    if (!there)
        return error_set(err, ERR_NOTFOUND, "there is no alias %s", edit->key);
    alias->targets_n = 0;
    for (size_t i = 0; edit->n && i < before; i++)
        if (!has_target(&gone, alias->targets[i]))
            alias->targets[alias->targets_n++] = alias->targets[i];
    if (alias->targets_n == before)
        return error_set(err, ERR_NOTFOUND, "%s has no such target", edit->key);
    return 0;
}

/* A target keeps its detail: mail for the alias goes to that mailbox. */
static int parse_targets(struct directory *d, const struct slice *targets, size_t n,
                         struct arena *a, const char ***ret, struct error *err)
{
    const char **out = arena_array(a, n, sizeof *out);

    for (size_t i = 0; i < n; i++) {
        struct address address;
        int r = address_parse(d, targets[i], false, a, &address, err);

        if (r < 0) {
            (void)error_prefix(err, "%.*s", SLICE_FMT(slice_sub(targets[i], 0, 100)));
            return r;
        }
        out[i] = *address.detail ? arena_printf(a, "%s%c%s@%s", address.user, d->options.delimiter,
                                                address.detail, address.domain)
                                 : address.key;
    }
    *ret = out;
    return 0;
}

static int start_edit(struct directory *d, struct slice address, const struct slice *targets,
                      size_t n, struct arena *a, struct alias_edit *ret, struct address *parsed,
                      struct error *err)
{
    int r;

    if (n > DIRECTORY_TARGETS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d targets", DIRECTORY_TARGETS_MAX);
    r = address_parse(d, address, true, a, parsed, err);
    if (r < 0)
        return r;
    *ret = (struct alias_edit){.key = parsed->full, .n = n};
    return parse_targets(d, targets, n, a, &ret->targets, err);
}

int directory_alias_add(struct directory *d, struct slice address, const struct slice *targets,
                        size_t n, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct alias_edit edit;
    struct address parsed;
    int r = start_edit(d, address, targets, n, &a, &edit, &parsed, err);

    if (r < 0)
        return r;
    if (n == 0)
        return error_set(err, ERR_INVALID, "an alias needs a target");
    r = directory_domain_is_local(d, parsed.domain, err);
    if (r == 0)
        return error_set(err, ERR_NOTFOUND, "the domain %s is not ours: eider domain add",
                         parsed.domain);
    return r < 0 ? r : edit_alias(d, &edit, &a, add_targets, err);
}

int directory_alias_delete(struct directory *d, struct slice address, const struct slice *targets,
                           size_t n, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct alias_edit edit;
    struct address parsed;
    int r = start_edit(d, address, targets, n, &a, &edit, &parsed, err);

    return r < 0 ? r : edit_alias(d, &edit, &a, remove_targets, err);
}

int directory_address_list(struct directory *d, const char *after, size_t limit, struct arena *a,
                           struct directory_alias **ret, size_t *ret_n, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct directory_alias *items;
    int r = row_range(d, STORE_ADDRESSES, slice_str(after), limit, &docs, err);

    if (r < 0)
        return r;
    items = arena_array(a, docs.n, sizeof *items);
    for (size_t i = 0; i < docs.n; i++) {
        r = alias_decode(docs.items[i].head, a, &items[i], err);
        if (r < 0) {
            (void)error_prefix(err, "%.*s", SLICE_FMT(docs.items[i].key));
            return r;
        }
        items[i].address = arena_str(a, docs.items[i].key);
        items[i].version = docs.items[i].version;
    }
    *ret = items;
    *ret_n = docs.n;
    return 0;
}

/* ---- domains ---- */

int directory_domain_is_local(struct directory *d, const char *domain, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    return row_get(d, STORE_DOMAINS, slice_str(domain), &docs, err);
}

int directory_domain_get(struct directory *d, const char *domain, struct arena *a,
                         struct directory_domain *ret, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = row_get(d, STORE_DOMAINS, slice_str(domain), &docs, err);

    if (r <= 0)
        return r;
    r = domain_decode(docs.items[0].head, a, ret, err);
    ret->version = docs.items[0].version;
    return r < 0 ? r : 1;
}

int directory_domain_update(struct directory *d, const char *name,
                            const struct directory_domain *domain, struct error *err)
{
    CLEANUP(buf_done) struct buf value = buf_make(DIRECTORY_VALUE_MAX);
    uint64_t version;

    domain_encode(domain, &value);
    return row_replace(d, STORE_DOMAINS, slice_str(name), domain->version, buf_slice(&value),
                       &version, err);
}

int directory_domain_add(struct directory *d, struct slice domain, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    const char *key;
    int r = domain_normalise(domain, &a, &key, err);

    if (r < 0)
        return r;
    /* The value says nothing, so only a look can tell "there already" from "done by us". */
    r = directory_domain_is_local(d, key, err);
    if (r == 0)
        return row_insert(d, STORE_DOMAINS, slice_str(key), S("\1"), err);
    return r < 0 ? r : error_set(err, ERR_EXISTS, "the domain %s is there already", key);
}

/* 1: some address has this domain, 0: none. */
static int domain_in_use(struct directory *d, const char *domain, struct error *err)
{
    CLEANUP(arena_done) struct arena last = {0};
    const char *after = "";

    for (;;) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int r = row_range(d, STORE_ADDRESSES, slice_str(after), PAGE, &docs, err);

        if (r < 0 || docs.n == 0)
            return r;
        for (size_t i = 0; i < docs.n; i++) {
            struct slice key = docs.items[i].key;
            const uint8_t *at = memrchr(key.p, '@', key.n);

            if (at && slice_eq(slice_skip(key, (size_t)(at - key.p) + 1), slice_str(domain)))
                return 1;
        }
        arena_reset(&last);
        after = arena_str(&last, docs.items[docs.n - 1].key);
    }
}

int directory_domain_delete(struct directory *d, struct slice domain, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    const char *key;
    int r = domain_normalise(domain, &a, &key, err);

    if (r == 0)
        r = row_get(d, STORE_DOMAINS, slice_str(key), &docs, err);
    if (r < 0)
        return r;
    if (r == 0)
        return error_set(err, ERR_NOTFOUND, "there is no domain %s", key);
    r = domain_in_use(d, key, err);
    if (r == 1)
        return error_set(err, ERR_INVALID, "there are still addresses in %s", key);
    if (r == 0)
        r = row_remove(d, STORE_DOMAINS, slice_str(key), docs.items[0].version, err);
    return r;
}

int directory_domain_list(struct directory *d, const char *after, size_t limit, struct arena *a,
                          const char ***ret, size_t *ret_n, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    const char **items;
    int r = row_range(d, STORE_DOMAINS, slice_str(after), limit, &docs, err);

    if (r < 0)
        return r;
    items = arena_array(a, docs.n, sizeof *items);
    for (size_t i = 0; i < docs.n; i++)
        items[i] = arena_str(a, docs.items[i].key);
    *ret = items;
    *ret_n = docs.n;
    return 0;
}
