/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/net/dns.h"

static const struct {
    const char *rdata;
    size_t n;
    const char *host; /* NULL: refused */
    unsigned preference;
} mx[] = {
    {"\0\12\2mx\7example\3org", 18, "mx.example.org", 10},
    {"\0\12\2MX\0", 6, "mx", 10},
    {"\0\0\0", 3, "", 0},
    {"\0\12\2mx\0x", 7, NULL, 0}, /* something behind it */
    {"\0\12\2m", 4, NULL, 0},     /* cut */
    {"\0\12", 2, NULL, 0},        /* no name */
    {"\0\12\2m x\0", 7, NULL, 0}, /* runs over */
    {"\0\12\3m x\0", 7, NULL, 0}, /* a space */
    {"\0\12\3m.x\0", 7, NULL, 0}, /* a dot in a label */
    {"\0\12\300\14", 4, NULL, 0}, /* compressed */
    {"", 0, NULL, 0},
};

Test(dns_rdata, mx)
{
    for (size_t i = 0; i < ARRAY_LEN(mx); i++) {
        struct dns_mx got;
        int rc = dns_parse_mx(slice_of(mx[i].rdata, mx[i].n), &got);

        cr_assert_eq(rc, mx[i].host ? 0 : -ERR_INVALID, "case %zu", i);
        if (rc < 0)
            continue;
        cr_expect_str_eq(got.host, mx[i].host, "case %zu", i);
        cr_expect_eq(got.preference, mx[i].preference, "case %zu", i);
    }
}

Test(dns_rdata, names_are_bounded)
{
    CLEANUP(buf_done) struct buf rdata = buf_make(1000);
    struct dns_mx got;

    buf_add_be16(&rdata, 1);
    for (int i = 0; i < 130; i++)
        buf_add(&rdata, "\1a", 2);
    buf_add_byte(&rdata, 0);
    cr_assert_eq(dns_parse_mx(buf_slice(&rdata), &got), -ERR_INVALID);
}

Test(dns_rdata, tlsa)
{
    struct dns_tlsa t;

    cr_assert_eq(dns_parse_tlsa(S("\3\1\2abc"), &t), 0);
    cr_expect(t.usage == 3 && t.selector == 1 && t.matching == 2 && slice_eq(t.data, S("abc")));
    cr_expect_eq(dns_parse_tlsa(S("\3\1\1"), &t), -ERR_INVALID);
    cr_expect_eq(dns_parse_tlsa(S("\3"), &t), -ERR_INVALID);
}

Test(dns_rdata, txt)
{
    CLEANUP(buf_done) struct buf out = buf_make(10);

    cr_assert_eq(dns_parse_txt(S("\3abc\0\2de"), &out), 0);
    cr_expect_str_eq(buf_cstr(&out), "abcde");
    cr_expect_eq(dns_parse_txt(S("\5abc"), &out), -ERR_INVALID);
    cr_expect_eq(dns_parse_txt(S(""), &out), -ERR_INVALID);
    cr_expect_eq(dns_parse_txt(S("\12abcdefghij"), &out),
                 -ERR_INVALID); /* more than there is room */
}

Test(dns_rdata, host_names)
{
    static const char *const good[] = {"a", "a.b", "mx-1.example.org", "_dmarc.x", "1.2.3.4"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a b", "a/b", "\xc3\xa9"};
    char label[70] = "";

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        cr_expect(dns_is_hostname(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect(!dns_is_hostname(bad[i]), "%s", bad[i]);
    memset(label, 'a', 64);
    cr_expect(!dns_is_hostname(label));
    label[63] = '\0';
    cr_expect(dns_is_hostname(label));
}
