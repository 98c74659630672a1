/* SPDX-License-Identifier: MPL-2.0 */
/* haproxy's doc/proxy-protocol.txt: 2.1 (version 1), 2.2 (version 2), 2.2.1 to 2.2.6 (TLVs) */
#include "lib/net/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX  ((size_t)107) /* "the worst case", CR LF included */
#define V2_HEAD ((size_t)16)

#define V2_SIGNATURE S("\r\n\r\n\0\r\nQUIT\n")

enum v2_tlv {
    TLV_AUTHORITY = 0x02,
    TLV_CRC32C = 0x03,
    TLV_SSL = 0x20,
    TLV_SSL_VERSION = 0x21,
    TLV_SSL_CIPHER = 0x23,
};

#define CLIENT_SSL 0x01

/* The next word up to one space or the end; false if it is empty. */
static bool next_word(struct slice *rest, struct slice *ret_word)
{
    ssize_t space = slice_find(*rest, ' ');
    size_t n = space < 0 ? rest->n : (size_t)space;

    *ret_word = slice_sub(*rest, 0, n);
    *rest = slice_skip(*rest, space < 0 ? n : n + 1);
    return n > 0;
}

static bool v1_address(struct slice host, struct slice port_text, bool v6, struct netaddr *ret)
{
    char text[INET6_ADDRSTRLEN + 1];
    uint64_t port;
    struct netaddr a = {0};

    if (host.n >= sizeof text || !slice_to_u64(port_text, UINT16_MAX, &port))
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (v6) {
        a.sa.v6.sin6_family = AF_INET6;
        a.sa.v6.sin6_port = htons((uint16_t)port);
        a.n = sizeof a.sa.v6;
    } else {
        a.sa.v4.sin_family = AF_INET;
        a.sa.v4.sin_port = htons((uint16_t)port);
        a.n = sizeof a.sa.v4;
    }
    void *to = v6 ? (void *)&a.sa.v6.sin6_addr : (void *)&a.sa.v4.sin_addr;
    if (strlen(text) != host.n || inet_pton(v6 ? AF_INET6 : AF_INET, text, to) != 1)
        return false;
    *ret = a;
    return true;
}

static bool v1_line(struct slice line, struct proxy_header *h)
{
    struct slice family, source, destination, source_port, destination_port;

    if (!next_word(&line, &family))
        return false;
    if (slice_eq(family, S("UNKNOWN")))
        return true; /* "the receiver must ignore anything presented before the CRLF" */
    bool v6 = slice_eq(family, S("TCP6"));
    if (!v6 && !slice_eq(family, S("TCP4")))
        return false;
    if (line.n == 0 || line.p[line.n - 1] == ' ')
        return false;
    return next_word(&line, &source) && next_word(&line, &destination) &&
           next_word(&line, &source_port) && next_word(&line, &destination_port) && line.n == 0 &&
           v1_address(source, source_port, v6, &h->source) &&
           v1_address(destination, destination_port, v6, &h->destination);
}

static enum proxy_result parse_v1(struct slice bytes, struct proxy_header *h, size_t *ret_n)
{
    struct slice head = slice_sub(bytes, 0, V1_MAX);
    ssize_t end = slice_search(head, S("\r\n"));

    if (end < 0)
        return bytes.n < V1_MAX ? PROXY_MORE : PROXY_BAD;
    if (!v1_line(slice_sub(head, 6, (size_t)end), h))
        return PROXY_BAD;
    *ret_n = (size_t)end + 2;
    return PROXY_DONE;
}

/* CRC32C (Castagnoli), the four bytes at `hole` taken as zero. */
static uint32_t crc32c(struct slice bytes, size_t hole)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < bytes.n; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0 : bytes.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* Copies text that fits and holds printable ASCII only: it goes into logs and mail headers. */
static bool copy_text(struct slice from, char *to, size_t to_n)
{
    if (from.n >= to_n)
        return false;
    for (size_t i = 0; i < from.n; i++)
        if (from.p[i] <= ' ' || from.p[i] > '~')
            return false;
    memcpy(to, from.p, from.n);
    to[from.n] = '\0';
    return true;
}

/* One type-length-value; false at the end or at damage (c->bad). */
static bool next_tlv(struct cursor *c, uint8_t *ret_type, struct slice *ret_value)
{
    if (cursor_left(c) == 0)
        return false;
    *ret_type = cursor_u8(c);
    *ret_value = cursor_bytes(c, cursor_be16(c));
    return !c->bad;
}

static bool v2_ssl(struct slice value, struct proxy_header *h)
{
    struct cursor c = cursor_of(value);
    uint8_t client = cursor_u8(&c);
    uint8_t type;
    struct slice sub;

    cursor_be32(&c); /* verify: of the client's certificate, which we do not use */
    h->tls = client & CLIENT_SSL;
    while (next_tlv(&c, &type, &sub)) {
        if (type == TLV_SSL_VERSION && !copy_text(sub, h->tls_version, sizeof h->tls_version))
            return false;
        if (type == TLV_SSL_CIPHER && !copy_text(sub, h->tls_cipher, sizeof h->tls_cipher))
            return false;
    }
    return !c.bad;
}

static bool v2_tlvs(struct slice whole, struct slice tlvs, struct proxy_header *h)
{
    struct cursor c = cursor_of(tlvs);
    uint8_t type;
    struct slice value;
    bool fine = true;

    while (fine && next_tlv(&c, &type, &value)) {
        if (type == TLV_AUTHORITY)
            fine = copy_text(value, h->authority, sizeof h->authority);
        else if (type == TLV_SSL)
            fine = v2_ssl(value, h);
        else if (type == TLV_CRC32C)
            fine = value.n == 4 && crc32c(whole, (size_t)(value.p - whole.p)) == get_be32(value.p);
    }
    return fine && !c.bad;
}

static void v2_ip(struct cursor *c, bool v6, struct proxy_header *h)
{
    struct slice source = cursor_bytes(c, v6 ? 16 : 4);
    struct slice destination = cursor_bytes(c, v6 ? 16 : 4);
    struct netaddr *a[] = {&h->source, &h->destination};
    struct slice hosts[] = {source, destination};

    for (int i = 0; i < 2; i++) {
        uint16_t port = htons(cursor_be16(c));

        if (c->bad)
            return;
        *a[i] = (struct netaddr){.n = v6 ? sizeof a[i]->sa.v6 : sizeof a[i]->sa.v4};
        a[i]->sa.any.sa_family = v6 ? AF_INET6 : AF_INET;
        if (v6) {
            memcpy(&a[i]->sa.v6.sin6_addr, hosts[i].p, 16);
            a[i]->sa.v6.sin6_port = port;
        } else {
            memcpy(&a[i]->sa.v4.sin_addr, hosts[i].p, 4);
            a[i]->sa.v4.sin_port = port;
        }
    }
}

/* LOCAL: "must use the real connection endpoints and must discard the protocol block". UNSPEC:
 * "must ignore address information". family: 0x11 is IPv4, 0x21 IPv6, 0x31 a UNIX stream. */
static bool v2_body(struct slice whole, uint8_t command, uint8_t family, struct proxy_header *h)
{
    struct cursor c = cursor_of(slice_skip(whole, V2_HEAD));

    h->local = command == 0;
    if (h->local || family == 0)
        return true;
    if (family == 0x11 || family == 0x21)
        v2_ip(&c, family == 0x21, h);
    else if (family == 0x31)
        cursor_bytes(&c, 216);
    else
        return false; /* datagrams bring no mail */
    return !c.bad && v2_tlvs(whole, slice_of(c.p, cursor_left(&c)), h);
}

static enum proxy_result parse_v2(struct slice bytes, struct proxy_header *h, size_t *ret_n)
{
    if (bytes.n < V2_HEAD)
        return PROXY_MORE;

    uint8_t version = bytes.p[12] >> 4, command = bytes.p[12] & 15;
    size_t n = V2_HEAD + get_be16(bytes.p + 14);

    if (version != 2 || command > 1 || n > PROXY_MAX)
        return PROXY_BAD;
    if (bytes.n < n)
        return PROXY_MORE;
    if (!v2_body(slice_sub(bytes, 0, n), command, bytes.p[13], h))
        return PROXY_BAD;
    *ret_n = n;
    return PROXY_DONE;
}

/* Are the bytes, as far as they go, the beginning of the signature? */
static bool may_be(struct slice bytes, struct slice signature)
{
    size_t n = bytes.n < signature.n ? bytes.n : signature.n;

    return slice_eq(slice_sub(bytes, 0, n), slice_sub(signature, 0, n));
}

enum proxy_result proxy_parse(struct slice bytes, struct proxy_header *ret_header, size_t *ret_n)
{
    bool v2 = may_be(bytes, V2_SIGNATURE);
    struct proxy_header h = {0};
    size_t n = 0;

    if (!v2 && !may_be(bytes, S("PROXY ")))
        return PROXY_BAD;
    if (bytes.n < (v2 ? V2_SIGNATURE.n : 6))
        return PROXY_MORE;

    enum proxy_result result = v2 ? parse_v2(bytes, &h, &n) : parse_v1(bytes, &h, &n);

    if (result == PROXY_DONE) {
        *ret_header = h;
        *ret_n = n;
    }
    return result;
}
