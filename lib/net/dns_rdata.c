/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/buf.h"
#include "lib/net/dns.h"

static bool is_name_byte(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || c == '-' || c == '_';
}

/* An uncompressed name (libunbound has taken compression away). Bytes that no host name has would
 * have to be escaped wherever the text goes: such names are refused. */
static int read_name(struct cursor *c, char ret[static DNS_NAME_MAX])
{
    size_t n = 0;

    for (uint8_t len = cursor_u8(c); len != 0; len = cursor_u8(c)) {
        struct slice label = cursor_bytes(c, len);

        if (c->bad || len > 63 || n + len + 1 >= DNS_NAME_MAX)
            return -ERR_INVALID;
        for (size_t i = 0; i < label.n; i++) {
            if (!is_name_byte(label.p[i]))
                return -ERR_INVALID;
            ret[n++] = (char)byte_lower(label.p[i]);
        }
        ret[n++] = '.';
    }
    ret[n > 0 ? n - 1 : 0] = '\0';
    return c->bad ? -ERR_INVALID : 0;
}

int dns_parse_mx(struct slice rdata, struct dns_mx *ret)
{
    struct cursor c = cursor_of(rdata);

    ret->preference = cursor_be16(&c);
    int rc = read_name(&c, ret->host);
    return rc == 0 && cursor_left(&c) == 0 ? 0 : -ERR_INVALID;
}

int dns_parse_tlsa(struct slice rdata, struct dns_tlsa *ret)
{
    struct cursor c = cursor_of(rdata);

    ret->usage = cursor_u8(&c);
    ret->selector = cursor_u8(&c);
    ret->matching = cursor_u8(&c);
    size_t n = cursor_left(&c);
    ret->data = cursor_bytes(&c, n);
    return !c.bad && n > 0 && n <= DNS_TLSA_DATA_MAX ? 0 : -ERR_INVALID;
}

int dns_parse_txt(struct slice rdata, struct buf *out)
{
    struct cursor c = cursor_of(rdata);

    if (rdata.n == 0)
        return -ERR_INVALID;
    while (!c.bad && cursor_left(&c) > 0) {
        uint8_t n = cursor_u8(&c);

        buf_add_slice(out, cursor_bytes(&c, n));
    }
    return c.bad || buf_full(out) ? -ERR_INVALID : 0;
}

bool dns_is_hostname(const char *name)
{
    size_t n = 0, label = 0;

    for (; name[n]; n++) {
        uint8_t c = (uint8_t)name[n];

        if (c == '.' ? label == 0 : !is_name_byte(c))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63 || n >= 253)
            return false;
    }
    return n > 0 && label > 0;
}
