/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/store/keys.h"
#include "lib/store/store_impl.h"

/* A back end that is away for some calls. */
struct absent {
    struct store store;
    int left, calls;
};

static int absent_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                      enum store_parts parts, enum store_level level, struct store_docs *docs,
                      struct error *err)
{
    struct absent *a = (struct absent *)(void *)s;

    (void)table, (void)keys, (void)parts, (void)level;
    a->calls++;
    for (size_t i = 0; i < n; i++)
        *store_docs_push(docs) = (struct store_doc){0};
    if (a->left == 0)
        return 0;
    a->left--;
    return error_set(err, ERR_UNAVAILABLE, "away");
}

static const struct store_ops absent_ops = {.kind = "absent", .get = absent_get};

static int get_one(struct absent *a)
{
    struct key8 key = key_account(1);
    struct store_docs docs = {0};
    int r = store_get(&a->store, STORE_ACCOUNTS, (struct slice[]){KEY_SLICE(key)}, 1, STORE_HEAD,
                      STORE_MAJORITY, &docs, NULL);

    cr_assert_eq(docs.n, r == 0 ? 1 : 0, "nothing of earlier tries is in the answer");
    store_docs_done(&docs);
    return r;
}

Test(store, a_read_waits_for_a_store_that_comes_back)
{
    struct absent a = {.store = {.ops = &absent_ops, .settings = {.wait_ms = 60000}}, .left = 3};

    cr_assert_eq(get_one(&a), 0);
    cr_assert_eq(a.calls, 4);
    cr_assert_eq(atomic_load(&a.store.away_since), 0);
}

Test(store, an_outage_holds_up_nobody_for_longer_than_the_first)
{
    struct absent a = {.store = {.ops = &absent_ops, .settings = {.wait_ms = 300}}, .left = 1000};
    int calls;

    cr_assert_eq(get_one(&a), -ERR_UNAVAILABLE);
    cr_assert_gt(a.calls, 1);
    calls = a.calls;
    cr_assert_eq(get_one(&a), -ERR_UNAVAILABLE);
    cr_assert_eq(a.calls, calls + 1, "who comes later is refused after one try");
    a.left = 0;
    cr_assert_eq(get_one(&a), 0);
    a.left = 2;
    cr_assert_eq(get_one(&a), 0, "and the next outage is waited for again");
}

Test(store, nothing_waits_unless_it_is_asked_to)
{
    struct absent a = {.store = {.ops = &absent_ops}, .left = 1};

    cr_assert_eq(get_one(&a), -ERR_UNAVAILABLE);
    cr_assert_eq(a.calls, 1);
}
