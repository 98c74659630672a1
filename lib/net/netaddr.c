/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/net/netaddr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static int parse_unix(const char *path, struct netaddr *ret, struct error *err)
{
    size_t n = strlen(path);

    if (path[0] != '/')
        return error_set(err, ERR_INVALID, "the socket's path \"%s\" is not absolute", path);
    if (n >= sizeof ret->sa.un.sun_path)
        return error_set(err, ERR_INVALID, "the socket's path \"%s\" is longer than %zu bytes",
                         path, sizeof ret->sa.un.sun_path - 1);
    *ret = (struct netaddr){.n = (socklen_t)sizeof(struct sockaddr_un)};
    ret->sa.un.sun_family = AF_UNIX;
    memcpy(ret->sa.un.sun_path, path, n + 1);
    return 0;
}

/* "*", a v4 address, or a v6 address with or without its brackets. */
static bool parse_host(struct slice host, uint16_t port, struct netaddr *ret)
{
    char text[INET6_ADDRSTRLEN + 1];

    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = slice_sub(host, 1, host.n - 1);
    if (host.n == 0 || host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    *ret = (struct netaddr){0};
    if (strcmp(text, "*") == 0 || inet_pton(AF_INET6, text, &ret->sa.v6.sin6_addr) == 1) {
        ret->sa.v6.sin6_family = AF_INET6;
        ret->sa.v6.sin6_port = htons(port);
        ret->n = sizeof ret->sa.v6;
        return true;
    }
    if (inet_pton(AF_INET, text, &ret->sa.v4.sin_addr) != 1)
        return false;
    ret->sa.v4.sin_family = AF_INET;
    ret->sa.v4.sin_port = htons(port);
    ret->n = sizeof ret->sa.v4;
    return true;
}

int netaddr_parse(const char *text, struct netaddr *ret_address, struct error *err)
{
    struct netaddr a;

    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, ret_address, err);
    if (text[0] == '/')
        return parse_unix(text, ret_address, err);

    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (!colon || !slice_to_u64(slice_str(colon + 1), UINT16_MAX, &port))
        return error_set(err, ERR_INVALID, "\"%s\" has no port (address:port)", text);
    if (!parse_host(slice_of(text, (size_t)(colon - text)), (uint16_t)port, &a))
        return error_set(err, ERR_INVALID, "\"%s\" is not a numeric address, * or a path", text);
    *ret_address = a;
    return 0;
}

bool netaddr_is_unix(const struct netaddr *a)
{
    return a->n >= sizeof a->sa.any.sa_family && a->sa.any.sa_family == AF_UNIX;
}

static bool is_v4(const struct netaddr *a)
{
    return a->n >= sizeof a->sa.v4 && a->sa.any.sa_family == AF_INET;
}

static bool is_v6(const struct netaddr *a)
{
    return a->n >= sizeof a->sa.v6 && a->sa.any.sa_family == AF_INET6;
}

/* The host as network byte order bytes, a mapped v4 address as v4; 4, 16, or 0 for none. */
static size_t host_bytes(const struct netaddr *a, uint8_t ret[static 16])
{
    if (is_v4(a)) {
        memcpy(ret, &a->sa.v4.sin_addr, 4);
        return 4;
    }
    if (!is_v6(a))
        return 0;
    if (IN6_IS_ADDR_V4MAPPED(&a->sa.v6.sin6_addr)) {
        memcpy(ret, a->sa.v6.sin6_addr.s6_addr + 12, 4);
        return 4;
    }
    memcpy(ret, a->sa.v6.sin6_addr.s6_addr, 16);
    return 16;
}

void netaddr_format_host(const struct netaddr *a, char *ret, size_t ret_n)
{
    uint8_t bytes[16];
    size_t n = host_bytes(a, bytes);

    if (n == 0)
        snprintf(ret, ret_n, "%s", netaddr_is_unix(a) ? "unix" : "?");
    else if (!inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, ret, (socklen_t)ret_n))
        snprintf(ret, ret_n, "?");
}

uint16_t netaddr_port(const struct netaddr *a)
{
    if (is_v4(a))
        return ntohs(a->sa.v4.sin_port);
    return is_v6(a) ? ntohs(a->sa.v6.sin6_port) : 0;
}

const char *netaddr_format(const struct netaddr *a, char ret[static NETADDR_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN + 1];

    if (netaddr_is_unix(a)) {
        snprintf(ret, NETADDR_TEXT_MAX, "unix:%.*s", (int)sizeof a->sa.un.sun_path,
                 a->sa.un.sun_path);
        return ret;
    }
    netaddr_format_host(a, host, sizeof host);
    snprintf(ret, NETADDR_TEXT_MAX, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, netaddr_port(a));
    return ret;
}

static bool rest_is_zero(const uint8_t *bytes, unsigned bits, size_t n)
{
    for (unsigned i = bits; i < n * 8; i++)
        if (bytes[i / 8] & 0x80 >> i % 8)
            return false;
    return true;
}

int network_parse(const char *text, struct network *ret_network, struct error *err)
{
    struct slice all = slice_str(text);
    ssize_t slash = slice_find(all, '/');
    struct netaddr a;
    struct network net = {0};
    uint64_t bits;

    if (!parse_host(slice_sub(all, 0, slash < 0 ? all.n : (size_t)slash), 0, &a) ||
        slice_eq(slice_sub(all, 0, 1), S("*")))
        return error_set(err, ERR_INVALID, "\"%s\" is not a network (address/bits)", text);

    size_t n = is_v4(&a) ? 4 : 16;

    memcpy(net.bytes, n == 4 ? (void *)&a.sa.v4.sin_addr : (void *)&a.sa.v6.sin6_addr, n);
    net.v6 = n == 16;
    bits = n * 8;
    if (slash >= 0 && !slice_to_u64(slice_skip(all, (size_t)slash + 1), n * 8, &bits))
        return error_set(err, ERR_INVALID, "\"%s\": the prefix is not 0 to %zu bits", text, n * 8);
    if (!rest_is_zero(net.bytes, (unsigned)bits, n))
        return error_set(err, ERR_INVALID, "\"%s\": bits beyond the prefix are not 0", text);
    net.bits = (uint8_t)bits;
    *ret_network = net;
    return 0;
}

static bool has(const struct network *net, const uint8_t *bytes)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;

    if (memcmp(net->bytes, bytes, whole) != 0)
        return false;
    return rest == 0 || ((net->bytes[whole] ^ bytes[whole]) & 0xff00 >> rest & 0xff) == 0;
}

bool network_any_has(const struct network *networks, size_t n, const struct netaddr *a)
{
    uint8_t bytes[16];
    size_t bytes_n = host_bytes(a, bytes);

    for (size_t i = 0; bytes_n > 0 && i < n; i++)
        if (networks[i].v6 == (bytes_n == 16) && has(&networks[i], bytes))
            return true;
    return false;
}

size_t netaddr_client_key(const struct netaddr *a, uint8_t ret_key[static 16])
{
    size_t n = host_bytes(a, ret_key);

    return n == 16 ? 8 : n;
}
