/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/rates.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/mem.h"

#define HOUR 3600000

Test(rates, what_fits_and_when)
{
    static const struct {
        struct rates_window window;
        uint64_t n, limit;
        int64_t want;
    } cases[] = {
        {{0, 0, 0}, 1, 1, 0},
        {{0, 0, 0}, 2, 1, 1000},    /* never */
        {{9, 0, 0}, 1, 10, 0},      /* just */
        {{10, 0, 0}, 1, 10, 1100},  /* in the next window, when a tenth of these has gone */
        {{10, 0, 900}, 1, 10, 200}, /* likewise, and it is near */
        {{0, 10, 0}, 1, 10, 100},   /* of the window before a tenth must go */
        {{0, 10, 100}, 1, 10, 0},   /* it has */
        {{5, 10, 500}, 1, 10, 100}, /* half of ten and five are there */
        {{0, 1000, 999}, 1, 1, 1},  /* nearly nothing is left of it, but for one more none may be */
        {{0, 0, 0}, UINT64_MAX, UINT64_MAX, 0},
        {{UINT64_MAX, 0, 0}, 1, UINT64_MAX, 1000},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(rates_wait_ms(&cases[i].window, cases[i].n, cases[i].limit, 1000),
                     cases[i].want, "case %zu", i);
}

Test(rates, a_limit_holds_and_refusals_do_not_count)
{
    struct rates *r = rates_memory_new(100);
    int64_t wait = 0;

    for (int i = 0; i < 5; i++)
        cr_expect_eq(rates_take(r, S("anna"), 2, 10, HOUR, &wait), 0);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(rates_take(r, S("anna"), 1, 10, HOUR, &wait), -ERR_LIMIT);
    cr_expect(wait > 0 && wait <= 2 * HOUR);
    cr_expect_eq(rates_take(r, S("anna"), 1, 11, HOUR, &wait), 0, "a higher limit");
    cr_expect_eq(rates_take(r, S("bert"), 10, 10, HOUR, &wait), 0, "somebody else");
    cr_expect_eq(rates_take(r, S("anna"), 0, 11, HOUR, &wait), 0, "nothing fits always");
    rates_free(r);
}

/* Whatever the moment: in any window no more than twice the limit, and it goes on. */
Test(rates, room_comes_back)
{
    struct rates *r = rates_memory_new(100);
    int64_t wait = 0;

    cr_expect_eq(rates_take(r, S("anna"), 10, 10, 50, &wait), 0);
    while (rates_take(r, S("anna"), 10, 10, 50, &wait) < 0) {
        cr_assert(wait > 0 && wait <= 100);
        usleep((unsigned)wait * 1000);
    }
    rates_free(r);
}

Test(rates, the_longest_unused_goes_first)
{
    struct rates *r = rates_memory_new(2);
    int64_t wait = 0;

    cr_expect_eq(rates_take(r, S("a"), 1, 1, HOUR, &wait), 0);
    cr_expect_eq(rates_take(r, S("b"), 1, 1, HOUR, &wait), 0);
    cr_expect_eq(rates_take(r, S("a"), 1, 1, HOUR, &wait), -ERR_LIMIT);
    cr_expect_eq(rates_take(r, S("c"), 1, 1, HOUR, &wait), 0);
    cr_expect_eq(rates_take(r, S("a"), 1, 1, HOUR, &wait), -ERR_LIMIT, "used since");
    cr_expect_eq(rates_take(r, S("b"), 1, 1, HOUR, &wait), 0, "forgotten");
    rates_free(r);
}
