/* SPDX-License-Identifier: MPL-2.0 */
/* Delivery reports (RFC 3464) about recipients here: what the one reply of SMTP cannot say. For
 * those elsewhere the queue makes them.
 */
#pragma once

#include "lib/base/buf.h"

struct report_recipient {
    const char *address;
    const char *orcpt; /* "rfc822;text", or "": none */
    bool delivered;
    unsigned code; /* what would have been replied, if it was not delivered */
    const char *status, *text;
};

struct report {
    const char *hostname;
    const char *to;      /* the sender */
    const char *envid;   /* "": none */
    const char *id;      /* makes Message-ID and boundary; without blanks */
    int64_t date;        /* seconds since 1970 */
    struct slice header; /* of the message, with its empty line */
    const struct report_recipient *recipients;
    size_t n;
};

/* A whole message. */
void report_write(const struct report *r, struct buf *out);
