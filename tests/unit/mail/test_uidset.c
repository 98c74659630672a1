/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/uidset.h"

#define UIDS 300

static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

static void check_same(const struct uidset *s, const bool *in)
{
    uint32_t uid, expected = 0;
    uint64_t count = 0;

    for (size_t i = 0; i < s->n; i++) {
        cr_assert(s->items[i].first >= 1 && s->items[i].first <= s->items[i].last);
        cr_assert(!i || s->items[i].first > s->items[i - 1].last + 1);
    }
    for (uint32_t u = 1; u < UIDS; u++) {
        cr_assert_eq(uidset_has(s, u), in[u], "uid %u", u);
        count += in[u];
    }
    cr_assert_eq(uidset_count(s), count);
    for (struct uidset_iter i = uidset_iter(s); uidset_next(&i, &uid); expected = uid) {
        for (uint32_t u = expected + 1; u < uid; u++)
            cr_assert(!in[u]);
        cr_assert(in[uid]);
    }
}

Test(uidset, any_order_agrees_with_an_array)
{
    for (uint64_t seed = 1; seed < 60; seed++) {
        CLEANUP(uidset_done) struct uidset s = {0};
        uint64_t random = seed;
        bool in[UIDS] = {false};

        for (int step = 0; step < 120; step++) {
            uint32_t first = 1 + draw(&random, UIDS - 1), n = draw(&random, 8);

            if (draw(&random, 3) == 0) {
                uidset_remove(&s, first);
                in[first] = false;
            } else {
                uidset_add_range(&s, first, MIN(first + n, UIDS - 1u));
                for (uint32_t u = first; u <= first + n && u < UIDS; u++)
                    in[u] = true;
            }
            check_same(&s, in);
        }
    }
}

Test(uidset, encodes_prints_and_copies)
{
    CLEANUP(uidset_done) struct uidset s = {0};
    CLEANUP(uidset_done) struct uidset back = {0};
    CLEANUP(uidset_done) struct uidset copy = {0};
    CLEANUP(buf_done) struct buf b = buf_make(1000), text = buf_make(1000);
    struct cursor in;

    uidset_add_range(&s, 1, 4);
    uidset_add(&s, 7);
    uidset_add_range(&s, 9, UINT32_MAX);
    uidset_print(&s, &text);
    cr_assert_str_eq(buf_cstr(&text), "1:4,7,9:4294967295");
    uidset_encode(&s, &b);
    in = cursor_of(buf_slice(&b));
    cr_assert_eq(uidset_decode(&back, &in), 0);
    cr_assert_eq(cursor_left(&in), 0);
    copy = uidset_copy(&back);
    cr_assert(copy.n == 3 && memcmp(copy.items, s.items, 3 * sizeof *s.items) == 0);
    cr_assert_eq(uidset_count(&s), 5 + (uint64_t)UINT32_MAX - 8);
}

Test(uidset, refuses_what_encoding_would_not_give)
{
    static const struct {
        const char *what;
        uint8_t bytes[12];
        size_t n;
    } cases[] = {
        {"uid 0", {1, 0, 0}, 3},
        {"ranges that touch", {2, 1, 0, 1, 0}, 5},
        {"past the last uid", {1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 7},
        {"more ranges than bytes", {0xff, 0xff, 0x7f, 1, 0}, 5},
        {"cut off", {2, 1, 0}, 3},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cursor in = cursor_of(slice_of(cases[i].bytes, cases[i].n));
        struct uidset s;

        cr_expect_eq(uidset_decode(&s, &in), -ERR_INTERNAL, "%s", cases[i].what);
        cr_expect(s.n == 0 && s.items == NULL);
    }
}

Test(uidset, and_and_minus_are_what_arrays_say)
{
    uint64_t seed = 11;

    for (int round = 0; round < 300; round++) {
        bool in_a[UIDS] = {0}, in_b[UIDS] = {0}, both[UIDS], rest[UIDS];
        CLEANUP(uidset_done) struct uidset a = {0};
        CLEANUP(uidset_done) struct uidset b = {0};
        CLEANUP(uidset_done) struct uidset and = {0};
        CLEANUP(uidset_done) struct uidset minus = {0};
        uint32_t n = draw(&seed, 80);

        for (uint32_t i = 0; i < n; i++) {
            uint32_t uid = 1 + draw(&seed, UIDS - 1);

            if (draw(&seed, 2)) {
                uidset_add(&a, uid);
                in_a[uid] = true;
            } else {
                uidset_add(&b, uid);
                in_b[uid] = true;
            }
        }
        for (int u = 0; u < UIDS; u++) {
            both[u] = in_a[u] && in_b[u];
            rest[u] = in_a[u] && !in_b[u];
        }
        and = uidset_and(&a, &b);
        minus = uidset_minus(&a, &b);
        check_same(&and, both);
        check_same(&minus, rest);
    }
}

Test(uidset, minus_at_the_ends)
{
    CLEANUP(uidset_done) struct uidset all = {0};
    CLEANUP(uidset_done) struct uidset some = {0};
    CLEANUP(uidset_done) struct uidset rest = {0};

    uidset_add_range(&all, 1, UINT32_MAX);
    uidset_add(&some, 1);
    uidset_add(&some, UINT32_MAX);
    rest = uidset_minus(&all, &some);
    cr_assert(rest.n == 1 && rest.items[0].first == 2 && rest.items[0].last == UINT32_MAX - 1);
    uidset_done(&rest);
    rest = uidset_minus(&all, &all);
    cr_assert_eq(rest.n, 0);
}
