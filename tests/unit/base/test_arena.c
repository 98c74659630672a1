/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/arena.h"

Test(arena, memory_is_zero_again_after_a_reset)
{
    struct arena a = {0};
    uint8_t *p = arena_raw(&a, 3000);

    memset(p, 0xff, 3000);
    arena_reset(&a);
    p = arena_alloc(&a, 3000);
    for (size_t i = 0; i < 3000; i++)
        cr_assert_eq(p[i], 0);
    arena_done(&a);
}

Test(arena, copies_end_with_a_nul_and_sizes_are_counted)
{
    struct arena a = {0};

    memset(arena_raw(&a, 100), 0xff, 100);
    arena_reset(&a);
    cr_assert_str_eq(arena_str(&a, S("abc")), "abc");
    cr_assert_eq(a.used, 4);
    cr_assert(slice_eq(arena_slice(&a, S("a\0b")), S("a\0b")));
    cr_assert_eq(arena_slice(&a, S("")).n, 0);
    arena_done(&a);
}
