/* SPDX-License-Identifier: MPL-2.0 */
/* dns: questions to the DNS with DNSSEC, by libunbound, which also caches.
 *
 * libunbound works in a thread of its own; answers come on one loop, the one that was given. So
 * whoever asks several things needs no lock between the answers. Nothing here blocks.
 *
 * Every question ends within the deadline. An answer that DNSSEC proves wrong is DNS_BOGUS and is
 * never shown. Records that are not of the form they must have are left out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/net/loop.h"

#define DNS_NAME_MAX    254 /* bytes of a name as text, with its NUL */
#define DNS_RECORDS_MAX 64  /* of one answer that are shown */

enum dns_type { DNS_A = 1, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_TLSA = 52 };

enum dns_outcome {
    DNS_OK,        /* there is an answer; it may have no records */
    DNS_NONE,      /* no such name (NXDOMAIN) */
    DNS_TEMPORARY, /* no server that knows, or none in time: ask later */
    DNS_BOGUS,     /* DNSSEC proves that somebody lies, or that the zone is broken */
};

struct dns_answer {
    enum dns_outcome outcome;
    bool secure;           /* proved by DNSSEC, also that there is nothing, CNAMEs included */
    const char *canonical; /* the name behind CNAMEs, else as asked for; lower case, no last dot */
    const struct slice *records; /* rdata */
    size_t n;
    unsigned ttl;    /* seconds */
    const char *why; /* DNS_TEMPORARY, DNS_BOGUS: a sentence */
};

/* Built without libunbound, nothing can be asked. */
extern const bool dns_is_built_in;

struct dns;

struct dns_settings {
    /* "": those of /etc/resolv.conf; "recursive": ask the servers of the zones, from the root on;
     * else addresses to be asked, "192.0.2.1 2001:db8::1@5353" (@port) */
    const char *servers;
    /* File with trust anchors (DS or DNSKEY lines); "": nothing is secure. */
    const char *trust_anchor;
    int64_t deadline_ms; /* of one question; 0: 20,000 */
};

/* 0; -ERR_INVALID (an address, the file), -ERR_NOTFOUND (the file cannot be read), -ERR_UNAVAILABLE
 * (built without libunbound; threads). */
int dns_new(const struct dns_settings *settings, struct loop *loop, struct dns **ret,
            struct error *err) MUST_USE;
/* Not on the loop. Questions under way are answered DNS_TEMPORARY first. NULL is fine. */
void dns_free(struct dns *dns);

/* On the loop. `done` comes there too, once, never before this returns; what `answer` points to
 * is gone after it. */
void dns_ask(struct dns *dns, const char *name, enum dns_type type,
             void (*done)(void *context, const struct dns_answer *answer), void *context);

/* ---- records, as they come from outside (dns_rdata.c) ---- */

/* Names as text: letters, digits, "-", "_" and dots only, lower case; the root is "". */
struct dns_mx {
    uint16_t preference;
    char host[DNS_NAME_MAX];
};
int dns_parse_mx(struct slice rdata, struct dns_mx *ret) MUST_USE; /* 0, -ERR_INVALID */

struct dns_tlsa {
    uint8_t usage, selector, matching;
    struct slice data; /* points into rdata; not empty, at most DNS_TLSA_DATA_MAX */
};
#define DNS_TLSA_DATA_MAX 4096
int dns_parse_tlsa(struct slice rdata, struct dns_tlsa *ret) MUST_USE; /* 0, -ERR_INVALID */

/* Appends the strings of a TXT record, joined. 0, -ERR_INVALID. */
int dns_parse_txt(struct slice rdata, struct buf *out) MUST_USE;

/* Is it a domain name as mail has it: LDH labels of at most 63, 253 in all, no empty ones? */
bool dns_is_hostname(const char *name);
