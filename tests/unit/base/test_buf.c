/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"

Test(buf, never_holds_more_than_its_cap)
{
    CLEANUP(buf_done) struct buf b = buf_make(10);

    buf_add_str(&b, "12345678");
    buf_add_str(&b, "90");
    cr_assert(!buf_full(&b) && b.n == 10);
    buf_add_byte(&b, 'x');
    cr_assert(buf_full(&b) && b.n == 10);
    buf_reset(&b, 100);
    buf_printf(&b, "%d", 1234567890);
    cr_assert(!buf_full(&b) && b.n == 10);
    buf_printf(&b, "%d", 1);
    cr_assert(buf_full(&b));
}

Test(buf, consumes_at_the_front)
{
    CLEANUP(buf_done) struct buf b = buf_make(1000);

    buf_add_str(&b, "hello world");
    buf_consume(&b, 6);
    cr_assert_str_eq(buf_cstr(&b), "world");
    buf_consume(&b, 99);
    cr_assert_eq(b.n, 0);
}

Test(buf, decimal)
{
    CLEANUP(buf_done) struct buf b = buf_make(1000);

    buf_add_u64(&b, 0);
    buf_add_byte(&b, ' ');
    buf_add_u64(&b, UINT64_MAX);
    cr_assert_str_eq(buf_cstr(&b), "0 18446744073709551615");
}
