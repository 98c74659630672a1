/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/queue/plan.h"

enum { NO, YES };

static const char *const patterns[] = {"mx.example.com"};

static const struct {
    int sts, dane, unsafe, mx_secure, require, optional;
    const char *host;
    /* what is wanted */
    int refused, tls, verify, fallback;
} cases[] = {
    {STS_NONE, 0, 0, 0, 0, 0, "mx.example.com", NO, SMTP_TLS_MAY, TLS_VERIFY_NONE, YES},
    {STS_TESTING, 0, 0, 0, 0, 0, "other", NO, SMTP_TLS_MAY, TLS_VERIFY_NONE, YES},
    {STS_ENFORCE, 0, 0, 0, 0, 0, "mx.example.com", NO, SMTP_TLS_MUST, TLS_VERIFY_NAME, NO},
    {STS_ENFORCE, 0, 0, 0, 0, 0, "other", YES, 0, 0, 0},
    {STS_NONE, 1, 0, 1, 0, 0, "other", NO, SMTP_TLS_MUST, TLS_VERIFY_DANE, NO},
    {STS_ENFORCE, 1, 0, 1, 0, 0, "other", NO, SMTP_TLS_MUST, TLS_VERIFY_DANE, NO},
    {STS_NONE, 0, 1, 1, 0, 0, "other", YES, 0, 0, 0},
    {STS_NONE, 0, 1, 1, 0, 1, "other", NO, SMTP_TLS_MAY, TLS_VERIFY_NONE, YES},
    {STS_ENFORCE, 1, 0, 1, 0, 1, "other", NO, SMTP_TLS_MAY, TLS_VERIFY_NONE, YES},
    {STS_NONE, 0, 0, 0, 1, 0, "other", YES, 0, 0, 0},
    {STS_NONE, 0, 0, 1, 1, 0, "other", NO, SMTP_TLS_MUST, TLS_VERIFY_NAME, NO},
    {STS_NONE, 1, 0, 1, 1, 0, "other", NO, SMTP_TLS_MUST, TLS_VERIFY_DANE, NO},
    {STS_ENFORCE, 0, 0, 0, 1, 0, "mx.example.com", NO, SMTP_TLS_MUST, TLS_VERIFY_NAME, NO},
    {STS_TESTING, 0, 0, 0, 1, 0, "mx.example.com", YES, 0, 0, 0},
};

Test(plan, servers_by_mx)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct resolve_host host = {.name = cases[i].host, .dane = cases[i].dane};
        struct resolved r = {.mx_secure = cases[i].mx_secure,
                             .sts = {.mode = cases[i].sts, .mx = patterns, .mx_n = 1}};
        struct queue_envelope e = {.require_tls = cases[i].require,
                                   .tls_optional = cases[i].optional};

        if (cases[i].unsafe)
            host.unsafe = "x";
        struct plan p = plan_for_mx(&r, &host, &e);

        cr_expect_eq(p.refused != NULL, cases[i].refused, "case %zu", i);
        cr_expect(p.name, "case %zu", i);
        if (p.refused)
            continue;
        cr_expect_eq(p.tls, cases[i].tls, "case %zu", i);
        cr_expect_eq(p.verify, cases[i].verify, "case %zu", i);
        cr_expect_eq(p.fallback, cases[i].fallback, "case %zu", i);
    }
}

static const struct {
    enum transport_tls asked;
    bool verify, require;
    const char *user;
    int tls, verified, fallback, implicit;
} routes[] = {
    {TRANSPORT_TLS_NONE, true, false, "", SMTP_TLS_NEVER, TLS_VERIFY_NAME, NO, NO},
    {TRANSPORT_TLS_NONE, false, true, "", SMTP_TLS_MUST, TLS_VERIFY_NAME, NO, NO},
    {TRANSPORT_TLS_OPPORTUNISTIC, true, false, "", SMTP_TLS_MAY, TLS_VERIFY_NONE, YES, NO},
    {TRANSPORT_TLS_OPPORTUNISTIC, true, false, "joe", SMTP_TLS_MAY, TLS_VERIFY_NONE, NO, NO},
    {TRANSPORT_TLS_REQUIRED, true, false, "", SMTP_TLS_MUST, TLS_VERIFY_NAME, NO, NO},
    {TRANSPORT_TLS_REQUIRED, false, false, "", SMTP_TLS_MUST, TLS_VERIFY_NONE, NO, NO},
    {TRANSPORT_TLS_REQUIRED, false, true, "", SMTP_TLS_MUST, TLS_VERIFY_NAME, NO, NO},
    {TRANSPORT_TLS_IMPLICIT, true, false, "", SMTP_TLS_MUST, TLS_VERIFY_NAME, NO, YES},
};

Test(plan, smarthosts)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        struct transport_route r = {
            .tls = routes[i].asked, .verify = routes[i].verify, .user = routes[i].user};
        struct plan p =
            plan_for_route(&r, &(struct queue_envelope){.require_tls = routes[i].require});

        cr_expect_eq(p.refused, NULL);
        cr_expect_eq(p.tls, routes[i].tls, "case %zu", i);
        cr_expect_eq(p.verify, routes[i].verified, "case %zu", i);
        cr_expect_eq(p.fallback, routes[i].fallback, "case %zu", i);
        cr_expect_eq(p.implicit, routes[i].implicit, "case %zu", i);
    }
}

static const struct {
    const char *hosts; /* "preference host ..." in order of preference */
    size_t left;
} lists[] = {
    {"10 a 20 b 30 c", 3},
    {"10 a 20 me 30 c", 1},
    {"10 a 20 b 20 me 30 c", 1},
    {"10 me 20 a", 0},
    {"10 a 10 ME", 0},
    {"", 0},
    {"10 a 20 me 30 b 40 me", 1},
};

Test(plan, mail_does_not_come_back_to_us)
{
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (int round = 0; round < 20; round++) {
            CLEANUP_FREE char *text = mem_strdup(lists[i].hosts);
            struct dns_mx mx[8];
            size_t n = 0;
            char *save, *p = strtok_r(text, " ", &save);

            for (; p; p = strtok_r(NULL, " ", &save)) {
                mx[n].preference = (uint16_t)strtoul(p, NULL, 10);
                strcpy(mx[n++].host, strtok_r(NULL, " ", &save));
            }
            for (size_t k = 0; k < n / 2; k++) { /* any order */
                struct dns_mx t = mx[k];
                mx[k] = mx[n - 1 - k];
                mx[n - 1 - k] = t;
            }
            size_t left = resolve_sort_mx(mx, n, "me");
            cr_assert_eq(left, lists[i].left, "case %zu: %zu", i, left);
            for (size_t k = 1; k < n; k++)
                cr_assert(mx[k - 1].preference <= mx[k].preference);
        }
}
