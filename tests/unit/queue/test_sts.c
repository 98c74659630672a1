/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/queue/sts.h"

static const struct {
    const char *text, *id; /* id NULL: refused */
} records[] = {
    {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
    {"v=STSv1;id=1", "1"},
    {"v=STSv1 ; x=y; id=abc", "abc"},
    {"v=STSv1;", NULL},
    {"v=STSv1; id=;", NULL},
    {"v=STSv1; id=a-b;", NULL},
    {"v=STSv1; id=123456789012345678901234567890123;", NULL},
    {"v=STSv2; id=1;", NULL},
    {"id=1; v=STSv1;", NULL},
    {"v=spf1 -all", NULL},
    {"", NULL},
};

Test(sts, records)
{
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        char id[STS_ID_MAX];
        int rc = sts_parse_record(slice_str(records[i].text), id);

        cr_expect_eq(rc, records[i].id ? 0 : -ERR_INVALID, "case %zu", i);
        if (rc == 0 && records[i].id)
            cr_expect_str_eq(id, records[i].id, "case %zu", i);
    }
}

#define GOOD "version: STSv1\r\nmode: enforce\r\nmax_age: 86400\r\n"

static const struct {
    const char *text;
    int result, mode;
    size_t mx_n;
} policies[] = {
    {GOOD "mx: mx1.example.com\r\nmx: *.Example.NET\r\n", 0, STS_ENFORCE, 2},
    {"version:STSv1\nmode:testing\nmx:a.b\nmax_age:1", 0, STS_TESTING, 1},
    {"version: STSv1\nmode: none\nmax_age: 1\n", 0, STS_NONE, 0},
    {GOOD "x-other: y\nmx: a.b\n\n", 0, STS_ENFORCE, 1},
    {GOOD "mx: a.b\nmx: *.*.c\nmx: a b\nmx: .\n", 0, STS_ENFORCE, 1},
    {GOOD, -ERR_INVALID, 0, 0},
    {"mode: enforce\nmx: a.b\nmax_age: 1\n", -ERR_INVALID, 0, 0},
    {"version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 1\n", -ERR_INVALID, 0, 0},
    {"version: STSv1\nmode: strict\nmx: a.b\nmax_age: 1\n", -ERR_INVALID, 0, 0},
    {"version: STSv1\nmode: enforce\nmx: a.b\n", -ERR_INVALID, 0, 0},
    {"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: x\n", -ERR_INVALID, 0, 0},
    {"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: 99999999999\n", -ERR_INVALID, 0, 0},
    {GOOD "mx: a.b\nnonsense\n", -ERR_INVALID, 0, 0},
    {"", -ERR_INVALID, 0, 0},
};

Test(sts, policies)
{
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        CLEANUP(arena_done) struct arena a = {0};
        struct sts_policy p = {0};
        int rc = sts_parse_policy(slice_str(policies[i].text), &a, &p);

        cr_assert_eq(rc, policies[i].result, "case %zu", i);
        cr_expect_eq(p.mode, policies[i].mode, "case %zu", i);
        cr_expect_eq(p.mx_n, policies[i].mx_n, "case %zu", i);
    }
}

Test(sts, a_star_is_one_label)
{
    const char *const mx[] = {"mx.example.com", "*.example.net"};
    struct sts_policy p = {.mode = STS_ENFORCE, .mx = mx, .mx_n = 2};

    cr_expect(sts_matches(&p, "mx.example.com"));
    cr_expect(sts_matches(&p, "a.example.net"));
    cr_expect(!sts_matches(&p, "a.b.example.net"));
    cr_expect(!sts_matches(&p, "example.net"));
    cr_expect(!sts_matches(&p, "a.mx.example.com"));
    cr_expect(!sts_matches(&p, "mx"));
}
