/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/pattern.h"

#include <criterion/criterion.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

static const struct {
    const char *pattern, *name;
    bool match;
} cases[] = {
    {"", "", true},
    {"", "a", false},
    {"*", "", true},
    {"*", "a/b/c", true},
    {"%", "a", true},
    {"%", "a/b", false},
    {"%/%", "a/b", true},
    {"%/%", "a/b/c", false},
    {"a*c", "a/b/c", true},
    {"a%c", "a/b/c", false},
    {"a%c", "abc", true},
    {"%b%c", "abbc", true},
    {"%b%/c", "ab/b/c", false},
    {"*b%/c", "ab/b/c", true},
    {"*%c", "a/bc", true},
    {"%*%", "x/y/z", true},
    {"*a%b*c", "xa/ayb/c", true},
    {"*a%b*c", "xa/y/b/c", false},
    {"INBOX*", "INBOX/x", true},
    {"a**b", "ab", true},
    {"%%", "ab", true},
    {"ab", "abc", false},
    {"abc", "ab", false},
};

Test(pattern, matches_as_rfc_3501_says)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_assert_eq(pattern_match(slice_str(cases[i].pattern), slice_str(cases[i].name)),
                     cases[i].match, "%s against %s", cases[i].pattern, cases[i].name);
}

/* The definition, exponential and obviously right. */
static bool plainly(struct slice p, struct slice n)
{
    if (p.n == 0)
        return n.n == 0;
    if (p.p[0] == '*' || p.p[0] == '%') {
        for (size_t i = 0; i <= n.n; i++) {
            if (plainly(slice_skip(p, 1), slice_skip(n, i)))
                return true;
            if (p.p[0] == '%' && i < n.n && n.p[i] == '/')
                return false;
        }
        return false;
    }
    return n.n && p.p[0] == n.p[0] && plainly(slice_skip(p, 1), slice_skip(n, 1));
}

Test(pattern, agrees_with_the_definition_on_all_short_ones)
{
    static const char p_bytes[] = "ab/*%", n_bytes[] = "ab/";
    uint8_t p[5], n[5];

    for (unsigned i = 0; i < 3125; i++) {
        for (unsigned k = 0, v = i; k < 5; k++, v /= 5)
            p[k] = (uint8_t)p_bytes[v % 5];
        for (unsigned j = 0; j < 243; j++) {
            for (unsigned k = 0, v = j; k < 5; k++, v /= 3)
                n[k] = (uint8_t)n_bytes[v % 3];
            cr_assert_eq(pattern_match(slice_of(p, 5), slice_of(n, 5)),
                         plainly(slice_of(p, 5), slice_of(n, 5)), "%.5s against %.5s", p, n);
        }
    }
}

Test(pattern, takes_no_time_on_nasty_ones)
{
    char p[1000], n[1000];
    int64_t began = clock_mono_ms();

    for (size_t i = 0; i < sizeof p; i++)
        p[i] = i % 2 ? 'a' : i % 4 ? '*' : '%';
    memset(n, 'a', sizeof n);
    n[999] = 'b';
    for (int i = 0; i < 100; i++)
        cr_assert_not(pattern_match(slice_of(p, sizeof p), slice_of(n, sizeof n)));
    cr_assert_lt(clock_mono_ms() - began, 20000);
}
