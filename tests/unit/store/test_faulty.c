/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/store/faulty.h"
#include "lib/store/keys.h"

struct pair {
    struct store *inner, *s;
    enum fault next; /* what the hook says, once */
};

static enum fault say_next(void *ctx, const char *verb, enum store_table table)
{
    struct pair *p = ctx;
    enum fault fault = p->next;

    p->next = FAULT_NONE;
    return fault;
}

static struct pair *pair_new(const char *uri)
{
    static struct pair p;
    struct fault_plan plan = {.seed = 7, .late_calls = 3, .hook = say_next, .ctx = &p};

    cr_assert_eq(store_open(uri, NULL, &p.inner, NULL), 0);
    p.s = store_faulty_new(p.inner, &plan);
    return &p;
}

static void pair_done(struct pair *p)
{
    store_close(p->s);
    store_close(p->inner);
}

static bool there(struct store *s, struct key16 k)
{
    struct store_docs docs = {0};
    struct slice key = KEY_SLICE(k);
    bool found;

    cr_assert_eq(store_get(s, STORE_LOG, &key, 1, STORE_HEAD, STORE_LINEARIZABLE, &docs, NULL), 0);
    found = docs.items[0].found;
    store_docs_done(&docs);
    return found;
}

static int insert(struct store *s, struct key16 k, enum store_outcome *ret)
{
    struct store_item item = {.table = STORE_LOG, .key = KEY_SLICE(k), .head = S("x")};
    int64_t time;
    int r = store_insert(s, &item, 1, &time, NULL);

    *ret = item.outcome;
    return r;
}

static const struct insert_case {
    enum fault fault;
    int result;
    enum store_outcome outcome;
    bool there, there_later;
} insert_cases[] = {
    {FAULT_NONE, 0, STORE_DONE, true, true},
    {FAULT_DELAY, 0, STORE_DONE, true, true},
    {FAULT_TWICE, 0, STORE_DONE, true, true},
    {FAULT_TAKEN_OWN, 0, STORE_TAKEN, true, true},
    {FAULT_REFUSED, -ERR_UNAVAILABLE, STORE_REFUSED, false, false},
    {FAULT_LOST, -ERR_UNKNOWN_OUTCOME, STORE_UNKNOWN, false, false},
    {FAULT_REPLY_LOST, -ERR_UNKNOWN_OUTCOME, STORE_UNKNOWN, true, true},
    {FAULT_LATE, -ERR_UNKNOWN_OUTCOME, STORE_UNKNOWN, false, true},
};

Test(faulty, each_fault_of_an_insert_is_what_the_header_says)
{
    struct pair *p = pair_new("memory:");

    for (size_t i = 0; i < sizeof insert_cases / sizeof insert_cases[0]; i++) {
        const struct insert_case *c = &insert_cases[i];
        struct key16 k = key_pair(1, i);
        enum store_outcome outcome;

        p->next = c->fault;
        cr_assert_eq(insert(p->s, k, &outcome), c->result, "fault %d", c->fault);
        cr_assert_eq(outcome, c->outcome, "fault %d", c->fault);
        cr_assert_eq(there(p->inner, k), c->there, "fault %d", c->fault);
        store_faulty_flush(p->s);
        cr_assert_eq(there(p->inner, k), c->there_later, "fault %d", c->fault);
    }
    pair_done(p);
}

Test(faulty, a_late_insert_comes_within_the_calls_given)
{
    struct pair *p = pair_new("memory:");
    struct key16 k = key_pair(1, 1), none = key_pair(1, 2);
    enum store_outcome outcome;
    int calls = 0;

    p->next = FAULT_LATE;
    cr_assert_eq(insert(p->s, k, &outcome), -ERR_UNKNOWN_OUTCOME);
    for (; calls < 10 && !there(p->inner, k); calls++)
        cr_assert_not(there(p->s, none));
    cr_assert(calls >= 1 && calls <= 3);
    pair_done(p);
}

Test(faulty, done_twice_brings_back_what_was_deleted)
{
    struct pair *p = pair_new("memory:");
    struct key16 k = key_pair(1, 1);
    struct slice key = KEY_SLICE(k);
    enum store_outcome outcome;

    p->next = FAULT_TWICE;
    cr_assert_eq(insert(p->s, k, &outcome), 0);
    cr_assert_eq(store_delete(p->inner, STORE_LOG, &key, 1, NULL), 0);
    store_faulty_flush(p->s);
    cr_assert(there(p->inner, k));
    pair_done(p);
}

static size_t insert_partly(struct pair *p, uint64_t account)
{
    struct key16 k[40];
    struct store_item items[40];
    size_t n = 0;
    int64_t time;

    for (size_t i = 0; i < 40; i++) {
        k[i] = key_pair(account, i);
        items[i] = (struct store_item){.table = STORE_LOG, .key = KEY_SLICE(k[i])};
    }
    p->next = FAULT_PARTLY;
    cr_assert_eq(store_insert(p->s, items, 40, &time, NULL), -ERR_UNKNOWN_OUTCOME);
    for (size_t i = 0; i < 40; i++) {
        cr_assert_eq(items[i].outcome, STORE_UNKNOWN);
        n += there(p->inner, k[i]);
    }
    return n;
}

Test(faulty, half_a_batch_is_done_unless_the_store_is_atomic)
{
    struct pair *p = pair_new("memory:?atomic=0");
    size_t n = insert_partly(p, 1);

    cr_assert(n > 5 && n < 35);
    pair_done(p);
    p = pair_new("memory:");
    for (uint64_t account = 1; account < 10; account++) {
        n = insert_partly(p, account);
        cr_assert(n == 0 || n == 40);
    }
    pair_done(p);
}

Test(faulty, old_answers_come_again_with_their_time_below_linearizable)
{
    struct pair *p = pair_new("memory:");
    struct key16 k = key_pair(1, 1);
    struct slice key = KEY_SLICE(k);
    struct store_docs first = {0}, old = {0}, fresh = {0};
    enum store_outcome outcome;

    cr_assert_eq(store_get(p->s, STORE_LOG, &key, 1, STORE_HEAD, STORE_MAJORITY, &first, NULL), 0);
    cr_assert_eq(insert(p->s, k, &outcome), 0);
    p->next = FAULT_LATE;
    cr_assert_eq(store_get(p->s, STORE_LOG, &key, 1, STORE_HEAD, STORE_MAJORITY, &old, NULL), 0);
    cr_assert_not(old.items[0].found);
    cr_assert_eq(old.time, first.time);
    p->next = FAULT_LATE;
    cr_assert_eq(store_get(p->s, STORE_LOG, &key, 1, STORE_HEAD, STORE_LINEARIZABLE, &fresh, NULL),
                 0);
    cr_assert(fresh.items[0].found);
    store_docs_done(&first);
    store_docs_done(&old);
    store_docs_done(&fresh);
    pair_done(p);
}

Test(faulty, time_moves_on_for_what_is_stored_afterwards)
{
    struct pair *p = pair_new("memory:");
    struct key16 k[2] = {key_pair(1, 1), key_pair(1, 2)};
    struct slice keys[2] = {KEY_SLICE(k[0]), KEY_SLICE(k[1])};
    struct store_docs docs = {0};
    enum store_outcome outcome;
    int64_t before, after;

    cr_assert_eq(insert(p->s, k[0], &outcome), 0);
    cr_assert_eq(store_time(p->s, &before, NULL), 0);
    store_faulty_advance(p->s, 3600000);
    store_faulty_advance(p->s, 3600000);
    cr_assert_eq(insert(p->s, k[1], &outcome), 0);
    cr_assert_eq(store_time(p->s, &after, NULL), 0);
    cr_assert(after - before >= 7200000 && after - before < 7210000);
    cr_assert_eq(store_get(p->s, STORE_LOG, keys, 2, STORE_KEYS, STORE_MAJORITY, &docs, NULL), 0);
    cr_assert(docs.items[0].stored_ms <= before);
    cr_assert(docs.items[1].stored_ms >= before + 7200000 && docs.items[1].stored_ms <= after);
    store_docs_done(&docs);
    pair_done(p);
}

Test(faulty, one_seed_gives_one_sequence)
{
    int results[2][200];

    for (int round = 0; round < 2; round++) {
        struct fault_plan plan = {.seed = 42, .late_calls = 5};
        struct store *inner, *s;
        enum store_outcome outcome;

        for (int i = 1; i < FAULT_COUNT_; i++)
            plan.per_mille[i] = i == FAULT_DELAY ? 0 : 60;
        cr_assert_eq(store_open("memory:", NULL, &inner, NULL), 0);
        s = store_faulty_new(inner, &plan);
        for (uint64_t i = 0; i < 200; i++) {
            results[round][i] = insert(s, key_pair(1, i / 2), &outcome);
            results[round][i] = results[round][i] * 10 + (int)outcome;
        }
        store_close(s);
        store_close(inner);
    }
    cr_assert_arr_eq(results[0], results[1], sizeof results[0]);
}
