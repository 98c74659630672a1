/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/net/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const char *source_of(const struct proxy_header *h)
{
    static char text[NETADDR_TEXT_MAX];

    return h->source.n ? netaddr_format(&h->source, text) : "none";
}

Test(proxy, version_1)
{
    static const struct {
        const char *text;
        enum proxy_result result;
        const char *source;
    } rows[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 143\r\nA1", PROXY_DONE, "192.0.2.1:1000"},
        {"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", PROXY_DONE, "[2001:db8::1]:1"},
        {"PROXY UNKNOWN\r\n", PROXY_DONE, "none"},
        {"PROXY UNKNOWN ffff::1 any thing\r\n", PROXY_DONE, "none"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 143\n", PROXY_MORE, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 65536\r\n", PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1000 143 \r\n", PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1  198.51.100.2 1000 143\r\n", PROXY_BAD, NULL},
        {"PROXY TCP4 ::1 ::1 1 1\r\n", PROXY_BAD, NULL},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 -1 143\r\n", PROXY_BAD, NULL},
        {"PROXY TCP4\r\n", PROXY_BAD, NULL},
        {"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", PROXY_BAD, NULL},
        {"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", PROXY_BAD, NULL},
        {"EHLO example.org\r\n", PROXY_BAD, NULL},
        {"", PROXY_MORE, NULL},
        {"PRO", PROXY_MORE, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_header h;
        size_t n = 0;
        enum proxy_result result = proxy_parse(slice_str(rows[i].text), &h, &n);

        cr_assert_eq(result, rows[i].result, "%s", rows[i].text);
        if (result != PROXY_DONE)
            continue;
        cr_assert_str_eq(source_of(&h), rows[i].source);
        cr_assert_eq(n, (size_t)(strstr(rows[i].text, "\r\n") + 2 - rows[i].text));
    }
    char longest[200] = "PROXY UNKNOWN ";
    struct proxy_header h;
    size_t n;
    memset(longest + 14, 'x', sizeof longest - 14);
    cr_assert_eq(proxy_parse(slice_of(longest, 106), &h, &n), PROXY_MORE);
    cr_assert_eq(proxy_parse(slice_of(longest, 107), &h, &n), PROXY_BAD);
}

static void begin_v2(struct buf *b, uint8_t command, uint8_t family)
{
    *b = buf_make(8192);
    buf_add(b, SIGNATURE, 12);
    buf_add_byte(b, 0x20 | command);
    buf_add_byte(b, family);
    buf_add_be16(b, 0);
}

static void add_tlv(struct buf *b, uint8_t type, struct slice value)
{
    buf_add_byte(b, type);
    buf_add_be16(b, (uint16_t)value.n);
    buf_add_slice(b, value);
}

static enum proxy_result end_v2(struct buf *b, struct proxy_header *h, size_t *n)
{
    put_be16(b->p + 14, (uint16_t)(b->n - 16));
    return proxy_parse(buf_slice(b), h, n);
}

static const uint8_t v4_block[12] = {192, 0, 2, 9, 10, 0, 0, 1, 0x10, 0x00, 0, 143};

Test(proxy, version_2_with_tls_and_authority)
{
    CLEANUP(buf_done) struct buf b, tls = buf_make(200);
    struct proxy_header h;
    size_t n;

    begin_v2(&b, 1, 0x11);
    buf_add(&b, v4_block, sizeof v4_block);
    buf_add(&tls, "\1\0\0\0\0", 5);
    add_tlv(&tls, 0x21, S("TLSv1.3"));
    add_tlv(&tls, 0x23, S("TLS_AES_128_GCM_SHA256"));
    add_tlv(&b, 0x20, buf_slice(&tls));
    add_tlv(&b, 0x02, S("imap.example.org"));
    add_tlv(&b, 0x04, S("\0\0\0")); /* NOOP */
    cr_assert_eq(end_v2(&b, &h, &n), PROXY_DONE);
    cr_assert_eq(n, b.n);
    cr_assert_str_eq(source_of(&h), "192.0.2.9:4096");
    cr_assert(h.tls && !h.local);
    cr_assert_str_eq(h.tls_version, "TLSv1.3");
    cr_assert_str_eq(h.tls_cipher, "TLS_AES_128_GCM_SHA256");
    cr_assert_str_eq(h.authority, "imap.example.org");
    for (size_t cut = 0; cut < b.n; cut++)
        cr_assert_eq(proxy_parse(slice_of(b.p, cut), &h, &n), PROXY_MORE, "cut at %zu", cut);
}

/* A header as haproxy 2.6 sends it with "send-proxy-v2 proxy-v2-options crc32c", and by the table
 * of RFC 3720, B.4 for the polynomial. */
Test(proxy, version_2_checksum)
{
    CLEANUP(buf_done) struct buf b;
    struct proxy_header h;
    size_t n;
    uint32_t crc = ~0u;

    begin_v2(&b, 1, 0x11);
    buf_add(&b, v4_block, sizeof v4_block);
    add_tlv(&b, 0x03, S("\0\0\0\0"));
    put_be16(b.p + 14, (uint16_t)(b.n - 16));
    for (size_t i = 0; i < b.n; i++)
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc ^ (uint32_t)(b.p[i] >> bit)) & 1 ? 0x82f63b78u : 0);
    put_be32(b.p + b.n - 4, ~crc);
    cr_assert_eq(end_v2(&b, &h, &n), PROXY_DONE);
    b.p[20] ^= 1;
    cr_assert_eq(end_v2(&b, &h, &n), PROXY_BAD);
}

Test(proxy, version_2_local_and_unspecified_have_no_addresses)
{
    CLEANUP(buf_done) struct buf local, unspec;
    struct proxy_header h;
    size_t n;

    begin_v2(&local, 0, 0x11);
    buf_add(&local, v4_block, sizeof v4_block);
    cr_assert_eq(end_v2(&local, &h, &n), PROXY_DONE);
    cr_assert(h.local);
    cr_assert_str_eq(source_of(&h), "none");
    begin_v2(&unspec, 1, 0);
    buf_add(&unspec, "whatever", 8);
    cr_assert_eq(end_v2(&unspec, &h, &n), PROXY_DONE);
    cr_assert_str_eq(source_of(&h), "none");
    cr_assert_eq(n, 24);
}

Test(proxy, version_2_damage_is_refused)
{
    static const struct {
        const char *why;
        uint8_t command, family;
        struct slice body;
    } rows[] = {
        {"unknown command", 2, 0x11, {v4_block, sizeof v4_block}},
        {"datagrams", 1, 0x12, {v4_block, sizeof v4_block}},
        {"addresses too short", 1, 0x11, {v4_block, 11}},
        {"v6 in a v4 block", 1, 0x21, {v4_block, sizeof v4_block}},
        {"unix block too short", 1, 0x31, {v4_block, sizeof v4_block}},
    };
    static const struct slice tlvs[] = {
        {(const uint8_t *)"\x02", 1},                      /* no length */
        {(const uint8_t *)"\x02\0\5abcd", 7},              /* cut */
        {(const uint8_t *)"\x02\0\2a\n", 5},               /* a control character in a name */
        {(const uint8_t *)"\x03\0\3abc", 6},               /* a checksum of three bytes */
        {(const uint8_t *)"\x20\0\1\1", 4},                /* TLS without its verify field */
        {(const uint8_t *)"\x20\0\7\1\0\0\0\0\x21\0", 10}, /* a cut TLV inside */
    };
    struct proxy_header h;
    size_t n;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b;

        begin_v2(&b, rows[i].command, rows[i].family);
        buf_add_slice(&b, rows[i].body);
        cr_assert_eq(end_v2(&b, &h, &n), PROXY_BAD, "%s", rows[i].why);
    }
    for (size_t i = 0; i < ARRAY_LEN(tlvs); i++) {
        CLEANUP(buf_done) struct buf b;

        begin_v2(&b, 1, 0x11);
        buf_add(&b, v4_block, sizeof v4_block);
        buf_add_slice(&b, tlvs[i]);
        cr_assert_eq(end_v2(&b, &h, &n), PROXY_BAD, "tlv %zu", i);
    }
    cr_assert_eq(proxy_parse(slice_of(SIGNATURE "\x31\x11\0\0", 16), &h, &n), PROXY_BAD);
    cr_assert_eq(proxy_parse(slice_of(SIGNATURE "\x21\x11\xff\xff", 16), &h, &n), PROXY_BAD);
}
