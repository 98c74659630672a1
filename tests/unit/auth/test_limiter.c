/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/auth/limiter.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

static const uint8_t unknown[16];

static struct limiter_who who(struct limiter *l, const char *remote, const char *login)
{
    struct limiter_who w;

    limiter_identify(l, remote, slice_str(login), &w);
    return w;
}

Test(limiter, delays_grow_and_then_attempts_must_wait)
{
    struct limiter *l = limiter_new(3, 1000, 8000);
    struct limiter_who w = who(l, "192.0.2.1", "a@b.org");
    static const int64_t want[] = {1000, 2000, 4000, 8000, 8000, 8000};
    int64_t now = 1000000;

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        cr_expect(limiter_admit(l, &w, now));
        cr_expect_eq(limiter_failed(l, &w, unknown, now), want[i]);
        cr_expect(limiter_admit(l, &w, now + 1) == (i + 1 < 3), "failure %zu", i);
        now += want[i];
    }
    cr_expect(limiter_admit(l, &w, now));
    limiter_free(l);
}

Test(limiter, address_and_login_are_counted_each)
{
    struct limiter *l = limiter_new(2, 1000, 8000);
    struct limiter_who a = who(l, "2001:db8::1", "a@b.org");
    struct limiter_who same_net = who(l, "2001:db8::ffff:2", "other@b.org");
    struct limiter_who other_net = who(l, "2001:db8:0:1::1", "other@b.org");
    struct limiter_who same_login = who(l, "198.51.100.1", "a@b.org");

    limiter_failed(l, &a, unknown, 0);
    limiter_failed(l, &a, unknown, 0);
    cr_expect(!limiter_admit(l, &a, 1));
    cr_expect(!limiter_admit(l, &same_net, 1));
    cr_expect(limiter_admit(l, &other_net, 1));
    cr_expect(!limiter_admit(l, &same_login, 1));
    limiter_free(l);
}

Test(limiter, shared_places_are_counted_by_login_only)
{
    static const char *const places[] = {"unix", "127.0.0.1", "::1", "::ffff:127.0.0.1"};

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct limiter *l = limiter_new(2, 1000, 8000);
        struct limiter_who a = who(l, places[i], "a"), b = who(l, places[i], "b");

        for (int k = 0; k < 5; k++)
            limiter_failed(l, &a, unknown, 0);
        cr_expect(!limiter_admit(l, &a, 1));
        cr_expect(limiter_admit(l, &b, 1), "%s", places[i]);
        limiter_free(l);
    }
}

Test(limiter, counts_decay)
{
    struct limiter *l = limiter_new(3, 1000, 1000000);
    struct limiter_who w = who(l, "192.0.2.1", "a@b.org");

    for (int i = 0; i < 8; i++)
        limiter_failed(l, &w, unknown, 0);
    cr_expect_eq(limiter_delay(l, &w, 1), 128000);
    cr_expect_eq(limiter_delay(l, &w, LIMITER_HALF_MS), 8000);
    cr_expect_eq(limiter_delay(l, &w, 40 * (int64_t)LIMITER_HALF_MS), 1000);
    limiter_free(l);
}

Test(limiter, the_same_guess_again_does_not_count)
{
    struct limiter *l = limiter_new(3, 1000, 8000);
    struct limiter_who w = who(l, "192.0.2.1", "a@b.org");
    uint8_t guess[16] = {1}, other[16] = {2};

    for (int i = 0; i < 10; i++)
        cr_expect_eq(limiter_failed(l, &w, guess, i), 1000);
    cr_expect_eq(limiter_failed(l, &w, other, 20), 2000);
    limiter_free(l);
}

Test(limiter, one_who_was_in_is_not_shut_out_by_others)
{
    struct limiter *l = limiter_new(3, 1000, 8000);
    struct limiter_who owner = who(l, "192.0.2.1", "a@b.org");
    struct limiter_who thief = who(l, "198.51.100.1", "a@b.org");

    limiter_succeeded(l, &owner, 0);
    for (int i = 0; i < 10; i++)
        limiter_failed(l, &thief, unknown, 0);
    cr_expect(!limiter_admit(l, &thief, 1));
    cr_expect(limiter_admit(l, &owner, 1));
    for (int i = 0; i < 3; i++)
        limiter_failed(l, &owner, unknown, 2);
    cr_expect(!limiter_admit(l, &owner, 3));
    limiter_free(l);
}

Test(limiter, memory_is_bounded)
{
    struct limiter *l = limiter_new(1, 1000, 8000);
    struct limiter_who first = who(l, "192.0.2.1", "a@b.org");
    char login[32];

    limiter_failed(l, &first, unknown, 0);
    cr_expect(!limiter_admit(l, &first, 1));
    for (int i = 0; i < LIMITER_ENTRIES; i++) {
        snprintf(login, sizeof login, "u%d", i);
        struct limiter_who w = who(l, "unix", login);
        limiter_failed(l, &w, unknown, 0);
    }
    cr_expect(limiter_admit(l, &first, 1));
    limiter_free(l);
}
