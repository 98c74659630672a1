/* SPDX-License-Identifier: MPL-2.0 */
/* The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): who the client behind a
 * load balancer is.
 *
 * A pure function over bytes: no sockets, no state, no allocation. The caller shows it the first
 * bytes of a connection, again with more of them as long as it answers "more". Whether a peer may
 * send such a header at all is the listener's affair: anybody could claim any address.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/net/netaddr.h"

/* The longest header that is taken; version 1 ends at 107 bytes, version 2 is cut off here (its
 * own limit, 65,551, has no use). */
#define PROXY_MAX ((size_t)4096)

struct proxy_header {
    bool local; /* the proxy itself (health check): the socket's addresses are right */
    struct netaddr source, destination; /* n = 0 if unknown (UNKNOWN, UNSPEC, LOCAL) */
    bool tls;                           /* the client came by TLS to the proxy (PP2_CLIENT_SSL) */
    char tls_version[16];               /* "TLSv1.3", or "" */
    char tls_cipher[64];
    char authority[256]; /* server name the client asked for, or "" */
};

enum proxy_result {
    PROXY_DONE, /* *ret_header is filled, *ret_n bytes belong to the header */
    PROXY_MORE, /* a true beginning of a header; show me more */
    PROXY_BAD,  /* not a PROXY header, damaged, wrong checksum or too long */
};

enum proxy_result proxy_parse(struct slice bytes, struct proxy_header *ret_header,
                              size_t *ret_n) MUST_USE;
