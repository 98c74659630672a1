/* SPDX-License-Identifier: MPL-2.0 */
/* Inserts, groups, guarded changes, store time, deletes. */
#include <stdlib.h>

#include "lib/base/digest.h"
#include "tests/store/conformance_impl.h"

/* --- inserting and getting ------------------------------------------------------------------- */

static void check_insert_and_get(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 k = key_pair(account, 1), none = key_pair(account, 2);
    struct slice keys[3] = {KEY_SLICE(none), KEY_SLICE(k), KEY_SLICE(none)};
    static const enum store_parts all_parts[] = {STORE_KEYS, STORE_HEAD, STORE_BODY, STORE_BOTH};

    EXPECT(r, put(r->s, STORE_MESSAGES, KEY_SLICE(k), S("digest"), S("a\0b")) == STORE_DONE);
    for (size_t i = 0; i < ARRAY_LEN(all_parts); i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        enum store_parts parts = all_parts[i];

        EXPECT_OK(r, store_get(r->s, STORE_MESSAGES, keys, 3, parts, STORE_MAJORITY, &docs, &err));
        EXPECT(r, docs.n == 3 && !docs.items[0].found && docs.items[1].found);
        if (docs.n != 3)
            continue;
        EXPECT(r, !docs.items[2].found && slice_eq(docs.items[2].key, keys[2]));
        EXPECT(r, slice_eq(docs.items[1].key, KEY_SLICE(k)));
        EXPECT(r, slice_eq(docs.items[1].head, parts & STORE_HEAD ? S("digest") : S("")));
        EXPECT(r, slice_eq(docs.items[1].body, parts & STORE_BODY ? S("a\0b") : S("")));
        EXPECT(r, docs.items[1].version != 0 && docs.items[1].stored_ms > 0);
    }
}

static void check_empty_calls(struct run *r)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int64_t time = 0;

    EXPECT_OK(r, store_insert(r->s, NULL, 0, &time, &err));
    EXPECT(r, time > 0);
    EXPECT_OK(r, store_get(r->s, STORE_LOG, NULL, 0, STORE_BOTH, STORE_MAJORITY, &docs, &err));
    EXPECT(r, docs.n == 0 && docs.time >= time);
    EXPECT_OK(r, store_delete(r->s, STORE_LOG, NULL, 0, &err));
}

static void check_empty_values(struct run *r)
{
    struct key8 k = key_account(random_u64());

    EXPECT(r, put(r->s, STORE_QUEUE, KEY_SLICE(k), S(""), slice_of(NULL, 0)) == STORE_DONE);
    EXPECT(r, holds(r->s, STORE_QUEUE, KEY_SLICE(k), S(""), S("")));
    EXPECT_OK(r, drop(r->s, STORE_QUEUE, KEY_SLICE(k), &err));
}

static void check_levels(struct run *r)
{
    static const enum store_level levels[] = {STORE_ANY, STORE_MAJORITY, STORE_LINEARIZABLE};
    struct key16 k = key_pair(random_u64(), 1);
    struct slice key = KEY_SLICE(k);

    EXPECT(r, put(r->s, STORE_LOG, key, S("x"), S("")) == STORE_DONE);
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0}, range = {0};
        struct store_query q = {.table = STORE_LOG,
                                .from = slice_sub(key, 0, 8),
                                .parts = STORE_HEAD,
                                .level = levels[i],
                                .limit = 1};

        EXPECT_OK(r, store_get(r->s, STORE_LOG, &key, 1, STORE_HEAD, levels[i], &docs, &err));
        EXPECT(r, docs.n == 1 && (docs.items[0].found || levels[i] == STORE_ANY));
        EXPECT_OK(r, store_range(r->s, &q, &range, &err));
        EXPECT(r,
               (range.n == 1 && slice_eq(range.items[0].head, S("x"))) || levels[i] == STORE_ANY);
    }
}

static void check_other_handle_sees_it(struct run *r)
{
    struct key16 k = key_pair(random_u64(), 1);

    for (int i = 0; i < 20; i++) {
        put_be64(k.b + 8, (uint64_t)i);
        EXPECT(r, put(r->s, STORE_LOG, KEY_SLICE(k), S("one"), S("")) == STORE_DONE);
        EXPECT(r, holds(r->other, STORE_LOG, KEY_SLICE(k), S("one"), S("")));
        EXPECT(r, put(r->other, STORE_LOG, KEY_SLICE(k), S("two"), S("")) == STORE_TAKEN);
    }
}

static void check_insert_is_unordered(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 k[5];
    struct store_item items[5];
    int64_t time = 0;

    for (uint64_t i = 0; i < 5; i++) {
        k[i] = key_pair(account, i);
        items[i] =
            (struct store_item){.table = STORE_LOG, .key = KEY_SLICE(k[i]), .head = S("new")};
    }
    EXPECT(r, put(r->s, STORE_LOG, KEY_SLICE(k[0]), S("old"), S("")) == STORE_DONE);
    EXPECT(r, put(r->s, STORE_LOG, KEY_SLICE(k[3]), S("old"), S("")) == STORE_DONE);
    EXPECT_OK(r, store_insert(r->s, items, 5, &time, &err));
    for (size_t i = 0; i < 5; i++) {
        bool was = i == 0 || i == 3;

        EXPECT(r, items[i].outcome == (was ? STORE_TAKEN : STORE_DONE));
        EXPECT(r, holds(r->s, STORE_LOG, KEY_SLICE(k[i]), was ? S("old") : S("new"), S("")));
    }
}

static void check_one_key_twice_in_a_batch(struct run *r)
{
    struct key16 k = key_pair(random_u64(), 1);
    struct store_item items[2] = {{.table = STORE_LOG, .key = KEY_SLICE(k), .head = S("a")},
                                  {.table = STORE_LOG, .key = KEY_SLICE(k), .head = S("b")}};
    int64_t time;
    size_t done;

    EXPECT_OK(r, store_insert(r->s, items, 2, &time, &err));
    done = items[0].outcome == STORE_DONE ? 0 : 1;
    EXPECT(r, items[done].outcome == STORE_DONE && items[1 - done].outcome == STORE_TAKEN);
    EXPECT(r, holds(r->s, STORE_LOG, KEY_SLICE(k), items[done].head, S("")));
}

static void check_all_tables_in_one_call(struct run *r)
{
    struct store_item items[STORE_TABLES_] = {0};
    uint8_t noise[32];
    int64_t time;

    random_bytes(noise, sizeof noise);
    for (size_t t = 0; t < STORE_TABLES_; t++) {
        size_t size = t == STORE_ADDRESSES || t == STORE_DOMAINS ? 20 : 32;

        if (t == STORE_ACCOUNTS || t == STORE_SNAPSHOTS || t == STORE_QUEUE)
            size = 8;
        else if (t == STORE_LOG || t == STORE_MESSAGES)
            size = 16;
        else if (t == STORE_SEGMENTS)
            size = 28;
        else if (t == STORE_TEXTINDEX || t == STORE_DKIM)
            size = 20;
        else if (t == STORE_QUEUEBODIES)
            size = 12;
        else if (t == STORE_QUEUEENTRIES)
            size = 10;
        else if (t == STORE_QUEUEDUE)
            size = 22;
        items[t] = (struct store_item){.table = (enum store_table)t, .key = slice_of(noise, size)};
        items[t].head = slice_of(noise, t);
        items[t].body = slice_of(noise, 32 - t);
    }
    EXPECT_OK(r, store_insert(r->s, items, STORE_TABLES_, &time, &err));
    for (size_t t = 0; t < STORE_TABLES_; t++) {
        EXPECT(r, items[t].outcome == STORE_DONE);
        EXPECT(r, holds(r->s, items[t].table, items[t].key, items[t].head, items[t].body));
        EXPECT_OK(r, store_delete(r->s, items[t].table, &items[t].key, 1, &err));
        EXPECT(r, absent(r->s, items[t].table, items[t].key));
    }
}

static void check_a_thousand_in_one_call(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 *keys = NEW_ARRAY(struct key16, 1000);
    struct store_item *items = NEW_ARRAY(struct store_item, 1000);
    struct slice body = bytes_of('m', 3000);
    struct store_query q = {.table = STORE_MESSAGES, .parts = STORE_BODY, .level = STORE_MAJORITY};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key8 from = key_account(account), to = key_account(account + 1);
    int64_t time;

    for (uint64_t i = 0; i < 1000; i++) {
        keys[i] = key_pair(account, i);
        items[i] = (struct store_item){.table = STORE_MESSAGES,
                                       .key = KEY_SLICE(keys[i]),
                                       .head = KEY_SLICE(keys[i]),
                                       .body = body};
    }
    EXPECT_OK(r, store_insert(r->s, items, 1000, &time, &err));
    for (size_t i = 0; i < 1000; i++)
        EXPECT(r, items[i].outcome == STORE_DONE);
    q.from = KEY_SLICE(from);
    q.to = KEY_SLICE(to);
    EXPECT_OK(r, store_range(r->s, &q, &docs, &err));
    EXPECT(r, docs.n == 1000 && slice_eq(docs.items[999].body, body));
    free(keys);
    free(items);
    bytes_done(body);
}

/* --- groups and predecessors ----------------------------------------------------------------- */

static void check_group_stops_at_what_is_not_done(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 m1 = key_pair(account, 1), m2 = key_pair(account, 2);
    struct store_item items[5] = {
        {.table = STORE_MESSAGES, .key = KEY_SLICE(m1), .group = 1},
        {.table = STORE_LOG, .key = KEY_SLICE(m1), .group = 1},
        {.table = STORE_MESSAGES, .key = KEY_SLICE(m2), .group = 2},
        {.table = STORE_LOG, .key = KEY_SLICE(m2), .group = 2},
        {.table = STORE_SNAPSHOTS, .key = slice_of(m1.b, 8)},
    };
    int64_t time;

    if (!store_is_atomic(r->s)) {
        EXPECT(r, store_insert(r->s, items, 5, &time, NULL) == -ERR_INVALID);
        EXPECT(r, items[4].outcome == STORE_REFUSED);
        EXPECT(r, absent(r->s, STORE_SNAPSHOTS, items[4].key));
        return;
    }
    EXPECT(r, put(r->s, STORE_MESSAGES, KEY_SLICE(m1), S("other"), S("")) == STORE_DONE);
    EXPECT_OK(r, store_insert(r->s, items, 5, &time, &err));
    EXPECT(r, items[0].outcome == STORE_TAKEN && items[1].outcome == STORE_REFUSED);
    EXPECT(r, items[2].outcome == STORE_DONE && items[3].outcome == STORE_DONE);
    EXPECT(r, items[4].outcome == STORE_DONE);
    EXPECT(r, absent(r->s, STORE_LOG, KEY_SLICE(m1)));
    EXPECT(r, holds(r->s, STORE_LOG, KEY_SLICE(m2), S(""), S("")));
}

static void check_predecessor(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 k1 = key_pair(account, 1), k2 = key_pair(account, 2), k4 = key_pair(account, 4),
                 k3 = key_pair(account, 3);
    struct store_item items[3] = {
        {.table = STORE_LOG, .key = KEY_SLICE(k1)},
        {.table = STORE_LOG, .key = KEY_SLICE(k2), .after = KEY_SLICE(k1)},
        {.table = STORE_LOG, .key = KEY_SLICE(k4), .after = KEY_SLICE(k3)},
    };
    int64_t time;

    EXPECT_OK(r, store_insert(r->s, items, 3, &time, &err));
    EXPECT(r, items[0].outcome == STORE_DONE && items[1].outcome == STORE_DONE);
    if (!store_is_atomic(r->s)) {
        EXPECT(r, items[2].outcome == STORE_DONE);
        return;
    }
    EXPECT(r, items[2].outcome == STORE_TAKEN);
    EXPECT(r, absent(r->s, STORE_LOG, KEY_SLICE(k4)));
}

/* --- guarded changes ------------------------------------------------------------------------- */

static void check_update_is_guarded(struct run *r)
{
    struct key8 k = key_account(random_u64());
    struct store_change c = {
        .table = STORE_SNAPSHOTS, .key = KEY_SLICE(k), .set_head = true, .head = S("two")};
    uint64_t first, second = 0, third = 0;
    int64_t time;

    c.version = 12345;
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_CONFLICT);
    EXPECT(r, put(r->s, STORE_SNAPSHOTS, c.key, S("one"), S("body")) == STORE_DONE);
    first = version_of(r->s, STORE_SNAPSHOTS, c.key);
    c.version = first + 1;
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_CONFLICT);
    c.version = first;
    EXPECT_OK(r, store_update(r->s, &c, &second, &time, &err));
    EXPECT(r, second != first && version_of(r->other, STORE_SNAPSHOTS, c.key) == second);
    EXPECT(r, holds(r->other, STORE_SNAPSHOTS, c.key, S("two"), S("body")));
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_CONFLICT);
    c = (struct store_change){.table = STORE_SNAPSHOTS,
                              .key = KEY_SLICE(k),
                              .version = second,
                              .set_body = true,
                              .body = S("new")};
    EXPECT_OK(r, store_update(r->s, &c, &third, &time, &err));
    EXPECT(r, holds(r->s, STORE_SNAPSHOTS, c.key, S("two"), S("new")));
    c = (struct store_change){.table = STORE_SNAPSHOTS,
                              .key = KEY_SLICE(k),
                              .version = third,
                              .set_head = true,
                              .set_body = true,
                              .body = S("b")};
    EXPECT_OK(r, store_update(r->s, &c, &third, &time, &err));
    EXPECT(r, holds(r->s, STORE_SNAPSHOTS, c.key, S(""), S("b")));
}

static void check_removal_is_guarded(struct run *r)
{
    struct key8 k = key_account(random_u64());
    struct store_change c = {.table = STORE_QUEUE, .key = KEY_SLICE(k), .remove = true};
    int64_t time;

    EXPECT(r, put(r->s, STORE_QUEUE, c.key, S("one"), S("")) == STORE_DONE);
    c.version = version_of(r->s, STORE_QUEUE, c.key) + 1;
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_CONFLICT);
    EXPECT(r, holds(r->s, STORE_QUEUE, c.key, S("one"), S("")));
    c.version--;
    EXPECT_OK(r, store_update(r->s, &c, NULL, &time, &err));
    EXPECT(r, absent(r->other, STORE_QUEUE, c.key));
    EXPECT(r, store_update(r->s, &c, NULL, &time, NULL) == -ERR_CONFLICT);
}

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void check_versions_never_repeat(struct run *r)
{
    struct key8 k = key_account(random_u64());
    struct slice key = KEY_SLICE(k);
    uint64_t seen[120];
    size_t n = 0;
    int64_t time;

    for (int i = 0; i < 40; i++) {
        struct store_change c = {.table = STORE_QUEUE, .key = key, .set_head = true};

        EXPECT(r, put(i & 1 ? r->s : r->other, STORE_QUEUE, key, S(""), S("")) == STORE_DONE);
        seen[n++] = c.version = version_of(r->s, STORE_QUEUE, key);
        EXPECT_OK(r, store_update(r->s, &c, &seen[n], &time, &err));
        c.version = seen[n++];
        EXPECT_OK(r, store_update(r->other, &c, &seen[n], &time, &err));
        n++;
        EXPECT_OK(r, drop(r->s, STORE_QUEUE, key, &err));
    }
    qsort(seen, n, sizeof seen[0], cmp_u64);
    for (size_t i = 1; i < n; i++)
        EXPECT(r, seen[i] != seen[i - 1]);
}

/* --- store time ------------------------------------------------------------------------------ */

static void check_store_time(struct run *r)
{
    uint64_t account = random_u64();
    int64_t last = 0, reply = 0, later = 0;

    EXPECT_OK(r, store_time(r->s, &last, &err));
    EXPECT(r, last > INT64_C(1600000000000));
    for (uint64_t i = 0; i < 30; i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        struct key16 k = key_pair(account, i);
        struct store_item item = {.table = STORE_LOG, .key = KEY_SLICE(k)};
        struct store *s = i & 1 ? r->s : r->other;
        struct store_doc *doc;

        EXPECT_OK(r, store_insert(s, &item, 1, &reply, &err));
        doc = get(s, STORE_LOG, item.key, &docs);
        EXPECT(r, doc && doc->stored_ms >= last && doc->stored_ms <= reply);
        EXPECT(r, docs.time >= reply);
        EXPECT_OK(r, store_time(s, &later, &err));
        EXPECT(r, later >= docs.time);
        last = doc ? doc->stored_ms : last;
    }
}

static void check_update_renews_the_time(struct run *r)
{
    struct key8 k = key_account(random_u64());
    struct store_change c = {.table = STORE_QUEUE, .key = KEY_SLICE(k), .set_head = true};
    CLEANUP(store_docs_done) struct store_docs docs = {0}, again = {0};
    struct store_doc *doc, *renewed;
    int64_t time = 0;

    EXPECT(r, put(r->s, STORE_QUEUE, c.key, S("x"), S("")) == STORE_DONE);
    doc = get(r->s, STORE_QUEUE, c.key, &docs);
    for (int64_t now = 0; doc && now <= doc->stored_ms + 1500;)
        EXPECT_OK(r, store_time(r->s, &now, &err));
    c.version = doc ? doc->version : 0;
    EXPECT_OK(r, store_update(r->s, &c, NULL, &time, &err));
    renewed = get(r->s, STORE_QUEUE, c.key, &again);
    EXPECT(r, doc && renewed && renewed->stored_ms > doc->stored_ms && renewed->stored_ms <= time);
    EXPECT_OK(r, drop(r->s, STORE_QUEUE, c.key, &err));
}

/* --- deleting -------------------------------------------------------------------------------- */

static void check_delete(struct run *r)
{
    uint64_t account = random_u64();
    struct key16 k[4];
    struct slice keys[3];

    for (uint64_t i = 0; i < 4; i++) {
        k[i] = key_pair(account, i);
        if (i)
            EXPECT(r, put(r->s, STORE_MESSAGES, KEY_SLICE(k[i]), S("h"), S("b")) == STORE_DONE);
    }
    for (size_t i = 0; i < 3; i++)
        keys[i] = KEY_SLICE(k[i]);
    EXPECT_OK(r, store_delete(r->s, STORE_MESSAGES, keys, 3, &err));
    EXPECT(r, absent(r->other, STORE_MESSAGES, keys[1]));
    EXPECT(r, absent(r->other, STORE_MESSAGES, keys[2]));
    EXPECT(r, holds(r->other, STORE_MESSAGES, KEY_SLICE(k[3]), S("h"), S("b")));
    EXPECT(r, put(r->s, STORE_MESSAGES, keys[1], S("again"), S("")) == STORE_DONE);
}

static void check_delete_range(struct run *r)
{
    uint64_t account = random_u64(), n = 0;
    struct key16 from = key_pair(account, 10), to = key_pair(account, 20);
    struct slice prefix = slice_of(from.b, 8);

    for (uint64_t i = 0; i < 30; i++) {
        struct key16 k = key_pair(account, i);

        EXPECT(r, put(r->s, STORE_LOG, KEY_SLICE(k), S("h"), S("")) == STORE_DONE);
    }
    EXPECT_OK(r, store_delete_range(r->s, STORE_LOG, KEY_SLICE(to), KEY_SLICE(from), &n, &err));
    EXPECT(r, n == 0);
    EXPECT_OK(r, store_delete_range(r->s, STORE_LOG, KEY_SLICE(from), KEY_SLICE(to), &n, &err));
    EXPECT(r, n == 10);
    for (uint64_t i = 0; i < 30; i++) {
        struct key16 k = key_pair(account, i);

        EXPECT(r, absent(r->other, STORE_LOG, KEY_SLICE(k)) == (i >= 10 && i < 20));
    }
    EXPECT_OK(r, store_delete_range(r->s, STORE_LOG, prefix, KEY_SLICE(to), NULL, &err));
    from = key_pair(account, 0);
    EXPECT(r, absent(r->s, STORE_LOG, KEY_SLICE(from)));
    EXPECT(r, holds(r->s, STORE_LOG, KEY_SLICE(to), S("h"), S("")));
}

/* --- the list -------------------------------------------------------------------------------- */

const struct check checks_write[] = {
    CHECK(insert_and_get),
    CHECK(empty_calls),
    CHECK(empty_values),
    CHECK(levels),
    CHECK(other_handle_sees_it),
    CHECK(insert_is_unordered),
    CHECK(one_key_twice_in_a_batch),
    CHECK(all_tables_in_one_call),
    CHECK(a_thousand_in_one_call),
    CHECK(group_stops_at_what_is_not_done),
    CHECK(predecessor),
    CHECK(update_is_guarded),
    CHECK(removal_is_guarded),
    CHECK(versions_never_repeat),
    CHECK(store_time),
    CHECK(update_renews_the_time),
    CHECK(delete),
    CHECK(delete_range),
    {NULL, NULL},
};
