/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses of sockets and networks, as text and as bytes. Never asks a name server. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

/* One endpoint: IPv4, IPv6 or the path of a UNIX socket. */
struct netaddr {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } sa;
    socklen_t n;
};

#define NETADDR_TEXT_MAX 160

/* "127.0.0.1:143", "[::1]:143", "*:143" (every address, v4 and v6), "/run/x" or "unix:/run/x".
 * 0, -ERR_INVALID with a sentence that quotes the text. */
int netaddr_parse(const char *text, struct netaddr *ret_address, struct error *err) MUST_USE;
/* As above ("127.0.0.1:143", "unix:/run/x"); "?" for what is none. Returns ret. */
const char *netaddr_format(const struct netaddr *a, char ret[static NETADDR_TEXT_MAX]);
/* Without the port, a v4 address mapped into v6 as plain v4; "unix" for a UNIX socket. */
void netaddr_format_host(const struct netaddr *a, char *ret, size_t ret_n);
uint16_t netaddr_port(const struct netaddr *a); /* 0 for UNIX */
bool netaddr_is_unix(const struct netaddr *a);

/* A network, or one address. A v4 address mapped into v6 is v4. */
struct network {
    uint8_t bytes[16];
    bool v6;
    uint8_t bits; /* 0..32 or 0..128 */
};

/* "10.0.0.0/8", "::1", "fd00::/8"; bits beyond the prefix must be 0.
 * 0, -ERR_INVALID with a sentence that quotes the text. */
int network_parse(const char *text, struct network *ret_network, struct error *err) MUST_USE;
/* The address's host in one of them? UNIX sockets: always false. */
bool network_any_has(const struct network *networks, size_t n, const struct netaddr *a);
/* What a client is counted by: all 4 bytes of v4, the first 8 of v6; 0 bytes for UNIX.
 * Returns the number of bytes written. */
size_t netaddr_client_key(const struct netaddr *a, uint8_t ret_key[static 16]);
