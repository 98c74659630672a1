/* SPDX-License-Identifier: MPL-2.0 */
/* sts: MTA-STS (RFC 8461): what a domain says about TLS to its servers. */
#pragma once

#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/net/netaddr.h"

#define STS_POLICY_MAX ((size_t)64 << 10) /* bytes of a policy (RFC 8461 3.3) */
#define STS_MX_MAX     64                 /* patterns of it */
#define STS_ID_MAX     33                 /* with its NUL */
#define STS_AGE_MAX    31557600           /* seconds (RFC 8461 3.2) */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

struct sts_policy {
    enum sts_mode mode;
    uint64_t max_age;      /* seconds */
    const char *const *mx; /* "mx.example.org", "*.example.org"; lower case */
    size_t mx_n;
};

/* The text of one TXT record at _mta-sts. 0; -ERR_INVALID: it is none of STSv1. */
int sts_parse_record(struct slice text, char ret_id[static STS_ID_MAX]) MUST_USE;
/* What is strings in *ret belongs to the arena. 0, -ERR_INVALID. */
int sts_parse_policy(struct slice text, struct arena *a, struct sts_policy *ret) MUST_USE;
/* RFC 8461 4.1: may mail for the domain go to this host? */
bool sts_matches(const struct sts_policy *policy, const char *host);

/* Fetches https://mta-sts.DOMAIN/.well-known/mta-sts.txt from one of the addresses, appends it.
 * Blocks, 15 s at most. ca_file "": the system's. 0, -ERR_UNAVAILABLE (with the reason, a
 * certificate that does not fit among them), -ERR_INVALID (not a policy's media type, too large).
 */
int sts_fetch(const char *domain, const struct netaddr *addresses, size_t n, uint16_t port,
              const char *ca_file, struct buf *out, struct error *err) MUST_USE;
