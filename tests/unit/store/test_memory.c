/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/store.h"

static struct store *open_store(const char *uri)
{
    struct store *s = NULL;
    struct error err = {0};

    cr_assert_eq(store_open(uri, NULL, &s, &err), 0, "%s", err.text);
    return s;
}

Test(memory, what_goes_in_comes_out_in_key_order)
{
    struct store *s = open_store("memory:");
    struct store_docs docs = {0};
    struct store_query q = {.table = STORE_LOG, .parts = STORE_BOTH, .limit = 400};
    int64_t time;

    for (uint64_t i = 0; i < 1000; i++) {
        struct key16 k = key_pair(7, i * 7919 % 1000);
        struct store_item item = {.table = STORE_LOG, .key = KEY_SLICE(k), .head = KEY_SLICE(k)};

        cr_assert_eq(store_insert(s, &item, 1, &time, NULL), 0);
        cr_assert_eq(item.outcome, STORE_DONE);
    }
    cr_assert_eq(store_range(s, &q, &docs, NULL), 0);
    cr_assert_eq(docs.n, 400);
    cr_assert(docs.more);
    for (size_t i = 0; i < docs.n; i++) {
        cr_assert_eq(get_be64(docs.items[i].key.p + 8), i);
        cr_assert(slice_eq(docs.items[i].key, docs.items[i].head));
    }
    store_docs_done(&docs);
    q.descending = true;
    cr_assert_eq(store_range(s, &q, &docs, NULL), 0);
    for (size_t i = 0; i < docs.n; i++)
        cr_assert_eq(get_be64(docs.items[i].key.p + 8), 999 - i);
    store_docs_done(&docs);
    store_close(s);
}

Test(memory, a_store_without_groups_refuses_them)
{
    struct store *s = open_store("memory:?atomic=0");
    struct key8 k = key_account(1);
    struct store_item item = {.table = STORE_ACCOUNTS, .key = KEY_SLICE(k), .group = 1};
    int64_t time;

    cr_assert_not(store_is_atomic(s));
    cr_assert_eq(store_insert(s, &item, 1, &time, NULL), -ERR_INVALID);
    cr_assert_eq(item.outcome, STORE_REFUSED);
    store_close(s);
}

Test(memory, unknown_kinds_of_store_are_refused)
{
    static const char *uris[] = {"", "sqlite:", "mysql://x", "memory", "memory:?atomic=2"};
    struct store *s = NULL;

    for (size_t i = 0; i < ARRAY_LEN(uris); i++)
        cr_assert_eq(store_open(uris[i], NULL, &s, NULL), -ERR_INVALID, "%s", uris[i]);
}
