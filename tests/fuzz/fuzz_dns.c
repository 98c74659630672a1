/* SPDX-License-Identifier: MPL-2.0 */
/* What we read ourselves of the DNS and of MTA-STS; the first byte chooses. What is taken must hold
 * what its header says. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/net/dns.h"
#include "lib/queue/sts.h"

static void check_mx(struct slice in)
{
    struct dns_mx mx;

    if (dns_parse_mx(in, &mx) == 0 && strlen(mx.host) >= DNS_NAME_MAX)
        abort();
}

static void check_tlsa(struct slice in)
{
    struct dns_tlsa t;

    if (dns_parse_tlsa(in, &t) == 0 &&
        (t.data.n == 0 || t.data.p < in.p || t.data.p + t.data.n > in.p + in.n))
        abort();
}

static void check_txt(struct slice in)
{
    CLEANUP(buf_done) struct buf text = buf_make(4096);
    char id[STS_ID_MAX];

    if (dns_parse_txt(in, &text) == 0 && sts_parse_record(buf_slice(&text), id) == 0 &&
        (id[0] == '\0' || strlen(id) >= STS_ID_MAX))
        abort();
}

static void check_policy(struct slice in)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct sts_policy p;

    if (sts_parse_policy(in, &a, &p) < 0)
        return;
    if (p.mx_n > STS_MX_MAX || p.max_age > STS_AGE_MAX || (p.mode != STS_NONE && p.mx_n == 0))
        abort();
    for (size_t i = 0; i < p.mx_n; i++)
        if (p.mx[i][0] != '*' && !sts_matches(&p, p.mx[i]))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct slice) = {check_mx, check_tlsa, check_txt, check_policy};

    if (size == 0)
        return 0;
    checks[data[0] % ARRAY_LEN(checks)](slice_of(data + 1, size - 1));
    return 0;
}
