/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/clock.h"

Test(clock, dates_go_to_seconds_and_back)
{
    for (int64_t t = -62135596800; t < 253402300800; t += 86400 * 13 + 3607) {
        struct civil c = civil_from_unix(t, 0);

        cr_assert(civil_valid(&c));
        cr_assert_eq(civil_to_unix(&c), t);
        c = civil_from_unix(t + 86400, -330);
        cr_assert_eq(civil_to_unix(&c), t + 86400);
    }
}

Test(clock, weekdays_and_impossible_dates)
{
    struct civil c = {.year = 2026, .month = 11, .day = 22};

    cr_assert_eq(civil_weekday(&c), 0);
    c = (struct civil){.year = 2023, .month = 2, .day = 29};
    cr_assert_not(civil_valid(&c));
    c.year = 2024;
    cr_assert(civil_valid(&c));
}
