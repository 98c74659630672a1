/* SPDX-License-Identifier: MPL-2.0 */
/* Values of ESMTP parameters: pure functions over the text behind the "=".
 *
 * All give 0 or -ERR_INVALID, and write results only on 0. Decoded texts hold no control
 * characters, so that they can stand in reports.
 */
#pragma once

#include "lib/base/buf.h"

/* RFC 3461 section 4: "+3D" for "=". Appends. */
int smtp_xtext_decode(struct slice value, struct buf *out) MUST_USE;
/* "rfc822;joe+2Bbox@example.org" (RFC 3461 section 4.2), "utf-8;..." (RFC 6533): appends the type,
 * ";" and the decoded address. */
int smtp_orcpt_decode(struct slice value, struct buf *out) MUST_USE;
/* "NEVER" or a list of SUCCESS, FAILURE, DELAY: enum queue_notify. */
int smtp_notify_parse(struct slice value, unsigned *ret) MUST_USE;
/* "2026-12-01T08:00:00Z" (RFC 4865: RFC 3339 in UTC), seconds since 1970. */
int smtp_time_parse(struct slice value, int64_t *ret) MUST_USE;

/* "3600;RT" (RFC 2852 section 4). */
struct smtp_by {
    int64_t seconds;
    bool ret;   /* "R": return it; else "N": tell */
    bool trace; /* "T" */
};
int smtp_by_parse(struct slice value, struct smtp_by *ret) MUST_USE;
/* "net.example:ADV,org.example:ADULT": classes of mail (RFC 3865 section 2.2). */
int smtp_solicit_check(struct slice value) MUST_USE;
/* The first class of `text`, where anything that cannot be in one stands between them, that is one
 * of `refused` too; empty: there is none. */
struct slice smtp_solicit_refused(struct slice text, struct slice refused);
/* -9 to 9 (RFC 6710 section 4.1.3). */
int smtp_priority_parse(struct slice value, int *ret) MUST_USE;
