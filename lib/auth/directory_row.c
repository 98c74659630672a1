/* SPDX-License-Identifier: MPL-2.0 */
/* Rows of the directory: reads, and changes whose outcome is always looked up when it is in doubt.
 *
 * A reply that was lost, or that says "taken", may speak of our own request (store.h). Every value
 * written here is either random in part (an account's id) or says all there is to say, so finding
 * the same value in its place means that the change is done, whoever did it.
 */
#include "lib/auth/directory_impl.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

static int get_at(struct directory *d, enum store_level level, enum store_table table,
                  struct slice key, struct store_docs *docs, struct error *err)
{
    int r = store_get(d->store, table, &key, 1, STORE_HEAD, level, docs, err);

    return r < 0 ? r : docs->items[0].found;
}

int row_get(struct directory *d, enum store_table table, struct slice key, struct store_docs *docs,
            struct error *err)
{
    int r = get_at(d, STORE_MAJORITY, table, key, docs, err);

    if (r != 0 || !d->options.proves_absence)
        return r;
    store_docs_done(docs);
    return get_at(d, STORE_LINEARIZABLE, table, key, docs, err);
}

/* What is there after an insert or a change in doubt? 1 ours, 0 another value, or -ERR_x; nothing
 * there is -ERR_UNKNOWN_OUTCOME: the lost request may still arrive. */
static int look(struct directory *d, enum store_table table, struct slice key, struct slice value,
                uint64_t *ret_version, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = row_get(d, table, key, &docs, NULL);

    if (r <= 0)
        return error_set(err, ERR_UNKNOWN_OUTCOME,
                         "the store's answer was lost; look whether it is done, and try again");
    if (ret_version)
        *ret_version = docs.items[0].version;
    return slice_eq(docs.items[0].head, value);
}

/* Whatever became of a change: nothing remembered from before it counts any more. */
static void reset_cache(struct directory **d)
{
    directory_cache_reset((*d)->cache);
}

int row_insert(struct directory *d, enum store_table table, struct slice key, struct slice value,
               struct error *err)
{
    CLEANUP(reset_cache) struct directory *changed = d;
    struct store_item item = {.table = table, .key = key, .head = value};
    int64_t time;
    int r = store_insert(d->store, &item, 1, &time, err);

    if (item.outcome == STORE_DONE && r == 0)
        return 0;
    if (r < 0 && r != -ERR_UNKNOWN_OUTCOME)
        return r;
    if (item.outcome == STORE_REFUSED)
        return error_set(err, ERR_UNAVAILABLE, "the store refused it");
    r = look(d, table, key, value, NULL, err);
    if (r == 0)
        return error_set(err, ERR_EXISTS, "it is there already");
    return r < 0 ? r : 0;
}

int row_replace(struct directory *d, enum store_table table, struct slice key, uint64_t version,
                struct slice value, uint64_t *ret_version, struct error *err)
{
    CLEANUP(reset_cache) struct directory *changed = d;
    struct store_change change = {
        .table = table, .key = key, .version = version, .set_head = true, .head = value};
    int64_t time;
    int r = store_update(d->store, &change, ret_version, &time, err);

    if (r != -ERR_UNKNOWN_OUTCOME)
        return r;
    r = look(d, table, key, value, ret_version, err);
    if (r == 0)
        return error_set(err, ERR_UNKNOWN_OUTCOME, "the store's answer was lost; try again");
    return r < 0 ? r : 0;
}

int row_remove(struct directory *d, enum store_table table, struct slice key, uint64_t version,
               struct error *err)
{
    CLEANUP(reset_cache) struct directory *changed = d;
    struct store_change change = {.table = table, .key = key, .version = version, .remove = true};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int64_t time;
    int r = store_update(d->store, &change, NULL, &time, err);

    if (r == -ERR_UNKNOWN_OUTCOME && get_at(d, STORE_LINEARIZABLE, table, key, &docs, NULL) == 0)
        return 0;
    return r;
}

/* The first key that may stand behind this one: a NUL more, or, where all keys have one length, one
 * more in the last place. False: there is none. */
static bool key_behind(struct slice key, bool fixed, uint8_t *out, size_t *ret_n)
{
    size_t n = key.n;

    memcpy(out, key.p, n);
    if (!fixed) {
        out[n] = 0;
        *ret_n = MIN(n + 1, (size_t)STORE_KEY_MAX);
        return true;
    }
    *ret_n = n;
    while (n && ++out[n - 1] == 0)
        n--;
    return n > 0;
}

int row_range(struct directory *d, enum store_table table, struct slice after, size_t limit,
              struct store_docs *docs, struct error *err)
{
    uint8_t from[STORE_KEY_MAX + 1];
    struct store_query query = {
        .table = table, .limit = limit, .parts = STORE_HEAD, .level = STORE_MAJORITY};

    if (after.n > STORE_KEY_MAX)
        return error_set(err, ERR_INVALID, "the name is too long");
    query.from.p = from;
    if (after.n && !key_behind(after, table == STORE_ACCOUNTS, from, &query.from.n))
        return 0;
    return store_range(d->store, &query, docs, err);
}

int address_row(struct directory *d, const char *key, struct arena *a, struct directory_alias *ret,
                struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = row_get(d, STORE_ADDRESSES, slice_str(key), &docs, err);

    if (r <= 0)
        return r;
    r = alias_decode(docs.items[0].head, a, ret, err);
    if (r < 0)
        return r;
    ret->address = arena_str(a, slice_str(key));
    ret->version = docs.items[0].version;
    return 1;
}

int directory_secret(struct directory *d, uint8_t ret[static 32], struct error *err)
{
    static const uint8_t key[8] = {0};
    uint8_t fresh[33] = {1}; /* format, secret */
    int r;

    random_bytes(fresh + 1, 32);
    for (int i = 0; i < 3; i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        r = row_get(d, STORE_ACCOUNTS, slice_of(key, sizeof key), &docs, err);
        if (r < 0)
            return r;
        if (r == 1 && (docs.items[0].head.n != sizeof fresh || docs.items[0].head.p[0] != 1))
            return error_set(err, ERR_INTERNAL, "the directory's secret is damaged");
        if (r == 1) {
            memcpy(ret, docs.items[0].head.p + 1, 32);
            return 0;
        }
        r = row_insert(d, STORE_ACCOUNTS, slice_of(key, sizeof key), slice_of(fresh, sizeof fresh),
                       err);
        if (r < 0 && r != -ERR_EXISTS)
            return r;
    }
    return error_set(err, ERR_UNAVAILABLE, "the directory's secret cannot be read");
}
