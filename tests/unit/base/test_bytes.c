/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"

Test(bytes, varints_come_back_and_overlong_ones_are_bad)
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, 1ull << 32, UINT64_MAX};
    CLEANUP(buf_done) struct buf b = buf_make(1000);
    struct cursor c;

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        buf_add_varint(&b, values[i]);
        buf_add_svarint(&b, -(int64_t)(values[i] >> 1));
    }
    c = cursor_of(buf_slice(&b));
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        cr_assert_eq(cursor_varint(&c), values[i]);
        cr_assert_eq(cursor_svarint(&c), -(int64_t)(values[i] >> 1));
    }
    cr_assert(!c.bad && cursor_left(&c) == 0);
    c = cursor_of(S("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    cr_assert_eq(cursor_varint(&c), 0);
    cr_assert(c.bad);
}

Test(bytes, a_cursor_that_went_past_the_end_stays_bad)
{
    struct cursor c = cursor_of(S("abc"));

    cr_assert_eq(cursor_be32(&c), 0);
    cr_assert(c.bad);
    cr_assert_eq(cursor_u8(&c), 0);
    c = cursor_of(S("\x05"
                    "abc"));
    cr_assert_eq(cursor_string(&c).n, 0);
    cr_assert(c.bad);
}

Test(bytes, numbers_from_outside_are_bounded)
{
    uint64_t v;

    cr_assert(slice_to_u64(S("4294967295"), UINT32_MAX, &v) && v == UINT32_MAX);
    cr_assert_not(slice_to_u64(S("4294967296"), UINT32_MAX, &v));
    cr_assert_not(slice_to_u64(S("18446744073709551616"), UINT64_MAX, &v));
    cr_assert_not(slice_to_u64(S(""), 9, &v));
    cr_assert_not(slice_to_u64(S("+1"), 9, &v));
}

static ssize_t search_plainly(struct slice s, struct slice needle)
{
    for (size_t i = 0; i + needle.n <= s.n; i++)
        if (memcmp(s.p + i, needle.p, needle.n) == 0)
            return (ssize_t)i;
    return -1;
}

Test(bytes, searching_finds_the_first_place_whatever_the_lengths)
{
    unsigned seed = 1;

    for (unsigned round = 0; round < 20000; round++) {
        /* on the heap, so that a sanitizer sees a look beyond either end */
        size_t n = (size_t)rand_r(&seed) % 90, k = 1 + (size_t)rand_r(&seed) % 24;
        CLEANUP_FREE uint8_t *text = mem_alloc(n + 1), *key = mem_alloc(k);
        CLEANUP_FREE uint8_t *exact = NULL;
        struct slice needle;

        for (size_t i = 0; i < n; i++)
            text[i] = 'a' + rand_r(&seed) % 2;
        for (size_t i = 0; i < k; i++)
            key[i] = 'a' + rand_r(&seed) % 2;
        needle = slice_of(key, k);
        if (n >= k && rand_r(&seed) % 2)
            memcpy(text + rand_r(&seed) % (n - k + 1), key, k);
        exact = n ? mem_dup(text, n) : NULL;
        cr_assert_eq(slice_search(slice_of(exact, n), needle),
                     search_plainly(slice_of(text, n), needle));
    }
    cr_assert_eq(slice_search(S("abc"), S("")), 0);
}
