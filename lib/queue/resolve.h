/* SPDX-License-Identifier: MPL-2.0 */
/* resolve: from a destination to the servers that take its mail: MX with order and fallback,
 * addresses, and all that the DNS and HTTPS say about their TLS (TLSA, MTA-STS).
 *
 * A lookup lives on the loop of the DNS; policies are fetched by a few threads of their own, so
 * that a slow web server holds up nobody else's commands. Results are immutable and shared.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/net/dns.h"
#include "lib/net/net.h"
#include "lib/queue/sts.h"

#define RESOLVE_HOSTS_MAX     16 /* of one destination */
#define RESOLVE_ADDRESSES_MAX 16 /* of one host */

struct resolve_host {
    const char *name; /* lower case; an address literal's text without brackets */
    struct netaddr *addresses;
    size_t n;
    bool dane; /* TLSA records, proved: TLS is a must (RFC 7672), if it can be verified by them */
    struct tls_tlsa *tlsa;
    size_t tlsa_n;
    const char *tlsa_name; /* the name that they are for (behind a CNAME another one) */
    const char *unsafe;    /* why it must not be used now (TLSA cannot be had); NULL: it may */
};

enum resolve_outcome { RESOLVE_OK, RESOLVE_LATER, RESOLVE_FAILED };

struct resolved {
    enum resolve_outcome outcome;
    const char *status; /* LATER, FAILED: enhanced code */
    const char *text;   /* and a sentence */
    struct resolve_host *hosts;
    size_t n;
    bool mx_secure; /* DNSSEC proves that these are the hosts */
    struct sts_policy sts;
    int64_t until_ms; /* clock_mono_ms() up to which it holds */
    struct arena arena;
    _Atomic unsigned refs;
};
void resolved_unref(struct resolved *r); /* NULL is fine */

enum resolve_family { RESOLVE_V6_FIRST, RESOLVE_V4_FIRST, RESOLVE_V6_ONLY, RESOLVE_V4_ONLY };

struct resolver_settings {
    const char *hostname; /* ours: an MX of this name, and what is behind it, is not used */
    uint16_t port;        /* of servers found by MX; 25 */
    uint16_t sts_port;    /* 443 */
    enum resolve_family family;
    bool dane, sts;
    const char *ca_file;                  /* for MTA-STS; "": the system's */
    const struct network *local_networks; /* loopback networks that MX records may point into */
    size_t local_networks_n;
};

struct resolver;
/* Copies the settings but their strings and networks. dns may be NULL: only numeric addresses can
 * be resolved then. 0, -ERR_UNAVAILABLE. */
int resolver_new(const struct resolver_settings *settings, struct dns *dns, struct loop *loop,
                 struct resolver **ret, struct error *err) MUST_USE;
/* Lookups must have ended: free the dns first. */
void resolver_free(struct resolver *r);

/* Any thread. `destination`: domain in A-labels, or "[192.0.2.1]", "[IPv6:2001:db8::1]". `done`
 * comes on the loop, with a reference for the callee. */
void resolve_destination(struct resolver *r, const char *destination,
                         void (*done)(void *context, struct resolved *result), void *context);
/* A host by name or numeric address, and a port: a smarthost. No MX, no TLSA, no MTA-STS. */
void resolve_server(struct resolver *r, const char *host, uint16_t port,
                    void (*done)(void *context, struct resolved *result), void *context);

/* Pure, for resolve.c and its test: sorts by preference, hosts of one preference in random order,
 * and leaves out `self` and all that is no better. Returns how many are left. */
size_t resolve_sort_mx(struct dns_mx *mx, size_t n, const char *self);
