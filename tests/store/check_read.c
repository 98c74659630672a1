/* SPDX-License-Identifier: MPL-2.0 */
/* Ranges, key order, sizes, and what is refused. */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/digest.h"
#include "tests/store/conformance_impl.h"

/* --- ranges ---------------------------------------------------------------------------------- */

#define RANGE_DOCS 40 /* keys account, 0, 2, 4, ...; heads of 1000 bytes */

static void fill_range(struct run *r, uint64_t account)
{
    struct slice head = bytes_of('h', 1000);

    for (uint64_t i = 0; i < RANGE_DOCS; i++) {
        struct key28 k = key_segment(account, 1, (uint32_t)(2 * i), 5);

        EXPECT(r, put(r->s, STORE_SEGMENTS, KEY_SLICE(k), head, S("b")) == STORE_DONE);
    }
    bytes_done(head);
}

static const struct range_case {
    uint32_t from, to; /* uids; to 0: to the end of the account */
    size_t limit, max_bytes;
    bool descending;
    size_t n; /* expected */
    uint32_t first;
    int more; /* -1: not looked at */
} range_cases[] = {
    {0, 0, 0, 0, false, 40, 0, 0},    {0, 0, 0, 0, true, 40, 78, 0},
    {10, 20, 0, 0, false, 5, 10, 0},  {10, 20, 0, 0, true, 5, 18, 0},
    {11, 21, 0, 0, false, 5, 12, 0},  {11, 21, 0, 0, true, 5, 20, 0},
    {10, 11, 0, 0, false, 1, 10, 0},  {11, 12, 0, 0, false, 0, 0, 0},
    {20, 10, 0, 0, false, 0, 0, 0},   {20, 10, 0, 0, true, 0, 0, 0},
    {10, 10, 0, 0, false, 0, 0, 0},   {0, 0, 7, 0, false, 7, 0, 1},
    {0, 0, 7, 0, true, 7, 78, 1},     {78, 0, 7, 0, false, 1, 78, 0},
    {10, 20, 5, 0, false, 5, 10, -1}, {10, 20, 4, 0, true, 4, 18, 1},
    {0, 0, 0, 1, false, 1, 0, 1},     {0, 0, 0, 1, true, 1, 78, 1},
    {900, 901, 0, 0, false, 0, 0, 0}, {10, 12, 1, 1, false, 1, 10, -1},
};

static void check_ranges(struct run *r)
{
    uint64_t account = random_u64() & ~UINT64_C(1);

    fill_range(r, account);
    for (size_t i = 0; i < ARRAY_LEN(range_cases); i++) {
        const struct range_case *c = &range_cases[i];
        struct key28 from = key_segment(account, 1, c->from, 0),
                     to = key_segment(account, c->to ? 1 : 2, c->to, 0);
        struct store_query q = {STORE_SEGMENTS, KEY_SLICE(from), KEY_SLICE(to), c->limit,
                                c->max_bytes,   c->descending,   STORE_HEAD,    STORE_MAJORITY};
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int failures = r->failures;

        EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
        EXPECT(r, docs.n == c->n && docs.time > 0);
        EXPECT(r, c->more == -1 || docs.more == (c->more == 1));
        for (size_t j = 0; j < docs.n; j++) {
            uint32_t uid = (uint32_t)(c->descending ? c->first - 2 * j : c->first + 2 * j);

            EXPECT(r, docs.items[j].key.n == 28 && get_be32(docs.items[j].key.p + 16) == uid);
            EXPECT(r, docs.items[j].found && docs.items[j].version && docs.items[j].stored_ms);
            EXPECT(r, docs.items[j].head.n == 1000 && docs.items[j].body.n == 0);
        }
        if (r->failures > failures)
            printf("# range case %zu: %zu documents\n", i, docs.n);
    }
}

/* --- many keys at once ------------------------------------------------------------------------ */

#define MANY 2600
#define ASK  400

/* Messages 0, 1, ..., but for every seventh. */
static bool is_stored(uint64_t id)
{
    return id % 7 != 3;
}

static void fill_many(struct run *r, uint64_t account)
{
    struct store_item items[100];
    struct key16 keys[ARRAY_LEN(items)];
    uint8_t heads[ARRAY_LEN(items)][8];
    int64_t time;
    size_t n = 0;

    for (uint64_t id = 0; id < MANY; id++) {
        if (is_stored(id)) {
            keys[n] = key_pair(account, id);
            put_be64(heads[n], id);
            items[n] = (struct store_item){.table = STORE_MESSAGES,
                                           .key = KEY_SLICE(keys[n]),
                                           .head = slice_of(heads[n], 8),
                                           .body = S("body")};
            n++;
        }
        if (n == ARRAY_LEN(items) || id + 1 == MANY) {
            EXPECT_OK(r, store_insert(r->s, items, n, &time, &err));
            n = 0;
        }
    }
}

/* Keys from `first` on, `step` apart, in no order, some twice. */
static void ask_many(struct run *r, uint64_t account, uint64_t first, uint64_t step,
                     enum store_parts parts)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct slice keys[ASK];
    struct key16 bytes[ASK];
    uint64_t ids[ASK];
    size_t wrong = 0;

    for (size_t i = 0; i < ASK; i++) {
        ids[i] = first + step * (i * 173 % (ASK - 20)); /* 173 and 380 have no common factor */
        bytes[i] = key_pair(account, ids[i]);
        keys[i] = KEY_SLICE(bytes[i]);
    }
    EXPECT_OK(r, store_get(r->s, STORE_MESSAGES, keys, ASK, parts, STORE_MAJORITY, &docs, &err));
    for (size_t i = 0; i < docs.n; i++) {
        const struct store_doc *d = &docs.items[i];
        bool there = ids[i] < MANY && is_stored(ids[i]);

        wrong += d->found != there || !slice_eq(d->key, keys[i]);
        wrong += there && parts & STORE_HEAD && (d->head.n != 8 || get_be64(d->head.p) != ids[i]);
        wrong += there && !!(parts & STORE_BODY) != (d->body.n == 4);
    }
    EXPECT(r, docs.n == ASK && wrong == 0);
}

static void check_many_keys(struct run *r)
{
    static const enum store_parts parts[] = {STORE_KEYS, STORE_HEAD, STORE_BOTH};
    uint64_t account = random_u64();

    fill_many(r, account);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        ask_many(r, account, 0, 1, parts[i]);      /* in a row */
        ask_many(r, account, 1, 2, parts[i]);      /* every other one */
        ask_many(r, account, 2, 6, parts[i]);      /* with many between */
        ask_many(r, account, 2500, 1, parts[i]);   /* beyond the last */
        ask_many(r, account, 900000, 1, parts[i]); /* none there */
    }
}

static void check_max_bytes(struct run *r)
{
    uint64_t account = random_u64();
    struct key8 prefix = key_account(account), next = key_account(account + 1);
    struct store_query q = {.table = STORE_SEGMENTS,
                            .from = KEY_SLICE(prefix),
                            .to = KEY_SLICE(next),
                            .max_bytes = 10000,
                            .parts = STORE_HEAD,
                            .level = STORE_MAJORITY};
    struct key28 from;
    size_t total = 0, answers = 0;

    fill_range(r, account);
    for (bool more = true; more && answers < 100; answers++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
        EXPECT(r, docs.n <= 15 && (docs.n || total == RANGE_DOCS));
        if (!docs.n)
            break;
        more = docs.more;
        total += docs.n;
        memcpy(from.b, docs.items[docs.n - 1].key.p, sizeof from.b);
        from.b[sizeof from.b - 1]++; /* seq 5: no carry */
        q.from = KEY_SLICE(from);
    }
    EXPECT(r, total == RANGE_DOCS && answers >= 3);
}

static void check_bounds_may_be_prefixes(struct run *r)
{
    uint64_t account = random_u64();
    struct key28 k = key_segment(account, 0, 0, 0), other = key_segment(account + 1, 0, 0, 0);
    struct store_query q = {.table = STORE_SEGMENTS,
                            .parts = STORE_KEYS,
                            .level = STORE_MAJORITY,
                            .from = slice_of(k.b, 8),
                            .to = slice_of(other.b, 8)};

    EXPECT(r, put(r->s, STORE_SEGMENTS, KEY_SLICE(k), S("h"), S("")) == STORE_DONE);
    EXPECT(r, put(r->s, STORE_SEGMENTS, KEY_SLICE(other), S("h"), S("")) == STORE_DONE);
    for (int i = 0; i < 2; i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        q.descending = i == 1;
        EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
        EXPECT(r, docs.n == 1 && slice_eq(docs.items[0].key, KEY_SLICE(k)));
        EXPECT(r, docs.n == 1 && docs.items[0].head.n == 0);
    }
}

static void check_numbers_sort_as_bytes(struct run *r)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       0xff,
                                       0x100,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0xffffffffffffff00,
                                       0xffffffffffffffff};
    uint64_t account = random_u64() | (UINT64_C(1) << 63);
    struct key16 from = key_pair(account, 0);
    struct store_query q = {.table = STORE_LOG,
                            .parts = STORE_KEYS,
                            .level = STORE_MAJORITY,
                            .from = KEY_SLICE(from),
                            .limit = ARRAY_LEN(numbers)};
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct key16 k = key_pair(account, numbers[(i * 3) % ARRAY_LEN(numbers)]);

        EXPECT(r, put(r->s, STORE_LOG, KEY_SLICE(k), S(""), S("")) == STORE_DONE);
    }
    EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
    EXPECT(r, docs.n == ARRAY_LEN(numbers));
    for (size_t i = 0; i < docs.n; i++)
        EXPECT(r, get_be64(docs.items[i].key.p + 8) == numbers[i]);
}

/* Keys of other lengths: a is before aa, aa before b. */
static void check_addresses_sort_as_bytes(struct run *r)
{
    static const char *const names[] = {"",   "\x01",     "@a",  "@aa", "@ab.example",
                                        "@b", "\xc3\xa9", "\xff"};
    char stem[24], next[24], key[64];
    struct store_query q = {.table = STORE_ADDRESSES, .parts = STORE_HEAD, .level = STORE_MAJORITY};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    size_t n;

    snprintf(stem, sizeof stem, "%020" PRIu64, random_u64() / 2);
    snprintf(next, sizeof next, "%s", stem);
    next[19]++;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t at = (i * 5) % ARRAY_LEN(names);

        n = (size_t)snprintf(key, sizeof key, "%s%s", stem, names[at]);
        EXPECT(r, put(r->s, STORE_ADDRESSES, slice_of(key, n), slice_of(&"01234567"[at], 1),
                      S("")) == STORE_DONE);
    }
    q.from = slice_str(stem);
    q.to = slice_str(next);
    EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
    EXPECT(r, docs.n == ARRAY_LEN(names));
    for (size_t i = 0; i < docs.n; i++)
        EXPECT(r, slice_eq(docs.items[i].head, slice_of(&"01234567"[i], 1)));
}

/* --- sizes ----------------------------------------------------------------------------------- */

static void check_big_values(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 k = key_pair(account, 1), k2 = key_pair(account, 2);
    struct slice body = bytes_of('B', STORE_BODY_MAX), head = bytes_of('H', STORE_HEAD_MAX - 8192);
    struct slice key = KEY_SLICE(k), key2 = KEY_SLICE(k2);
    struct store_change c = {.table = STORE_MESSAGES, .key = key, .set_body = true};
    struct store_query q = {.table = STORE_MESSAGES,
                            .from = key,
                            .limit = 2,
                            .max_bytes = 64 << 20,
                            .parts = STORE_BOTH,
                            .level = STORE_MAJORITY};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int64_t time;

    random_bytes((void *)(uintptr_t)body.p, 100000);
    EXPECT(r, put(r->s, STORE_MESSAGES, key, S("h"), body) == STORE_DONE);
    EXPECT(r, holds(r->s, STORE_MESSAGES, key, S("h"), body));
    EXPECT(r, put(r->s, STORE_MESSAGES, key2, head, body) == STORE_DONE);
    EXPECT(r, holds(r->s, STORE_MESSAGES, key2, head, body));
    EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
    EXPECT(r, docs.n == 2 && slice_eq(docs.items[0].body, body) &&
                  slice_eq(docs.items[1].body, body) && slice_eq(docs.items[1].head, head));
    c.version = version_of(r->s, STORE_MESSAGES, key);
    c.body = slice_sub(body, 0, 5000000);
    EXPECT_OK(r, store_update(r->s, &c, NULL, &time, &err));
    EXPECT(r, holds(r->s, STORE_MESSAGES, key, S("h"), c.body));
    EXPECT_OK(r, drop(r->s, STORE_MESSAGES, key, &err));
    EXPECT_OK(r, drop(r->s, STORE_MESSAGES, key2, &err));
    bytes_done(body);
    bytes_done(head);
}

static void check_too_big_is_refused(struct run *r)
{
    struct key16 k = key_pair(random_u64(), 1);
    struct slice big = bytes_of('x', STORE_BODY_MAX + 1);
    struct store_item items[2] = {{.table = STORE_LOG, .key = KEY_SLICE(k)},
                                  {.table = STORE_MESSAGES, .key = KEY_SLICE(k), .body = big}};
    struct store_change c = {
        .table = STORE_LOG, .key = KEY_SLICE(k), .set_body = true, .body = big};
    int64_t time;

    EXPECT(r, store_insert(r->s, items, 2, &time, NULL) == -ERR_TOOBIG);
    EXPECT(r, items[0].outcome == STORE_REFUSED && items[1].outcome == STORE_REFUSED);
    EXPECT(r, absent(r->s, STORE_LOG, KEY_SLICE(k)) && absent(r->s, STORE_MESSAGES, KEY_SLICE(k)));
    items[1].body = slice_of(NULL, 0);
    items[1].head = slice_of(big.p, STORE_HEAD_MAX + 1);
    EXPECT(r, store_insert(r->s, items, 2, &time, NULL) == -ERR_TOOBIG);
    items[1].head = slice_of(big.p, STORE_HEAD_MAX);
    items[1].body = slice_of(big.p, STORE_BODY_MAX); /* each alone would do */
    EXPECT(r, store_insert(r->s, items, 2, &time, NULL) == -ERR_TOOBIG);
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_TOOBIG);
    bytes_done(big);
}

static void check_keys_of_the_wrong_size_are_refused(struct run *r)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct slice key = S("123456789"), empty = S("");
    struct store_item item = {.table = STORE_ACCOUNTS, .key = key};
    struct store_change c = {.table = STORE_ACCOUNTS, .key = key};
    int64_t time;

    EXPECT(r, store_insert(r->s, &item, 1, &time, NULL) == -ERR_INVALID);
    EXPECT(r, item.outcome == STORE_REFUSED);
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_INVALID);
    EXPECT(r, drop(r->s, STORE_LOG, key, NULL) == -ERR_INVALID);
    EXPECT(r, store_get(r->s, STORE_DOMAINS, &empty, 1, STORE_BOTH, STORE_ANY, &docs, NULL) ==
                  -ERR_INVALID);
    EXPECT(r, docs.n == 0 && docs.items == NULL);
}

/* --- the list -------------------------------------------------------------------------------- */

const struct check checks_read[] = {
    CHECK(ranges),
    CHECK(many_keys),
    CHECK(max_bytes),
    CHECK(bounds_may_be_prefixes),
    CHECK(numbers_sort_as_bytes),
    CHECK(addresses_sort_as_bytes),
    CHECK(big_values),
    CHECK(too_big_is_refused),
    CHECK(keys_of_the_wrong_size_are_refused),
    {NULL, NULL},
};
