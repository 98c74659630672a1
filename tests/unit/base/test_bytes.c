/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

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
