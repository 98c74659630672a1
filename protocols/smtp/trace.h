/* SPDX-License-Identifier: MPL-2.0 */
/* Trace fields (RFC 5321 section 4.4). */
#pragma once

#include "lib/base/buf.h"

struct smtp_transaction;

struct trace_options {
    const char *id;   /* "id" clause; NULL: none */
    bool hide_client; /* nothing of where the message comes from */
};

/* Appends "Received: from ... by ... with ...; date CRLF". The client's name is what it said, its
 * address what we saw. */
void trace_received(const struct smtp_transaction *t, const struct trace_options *options,
                    struct buf *out);
/* "Mon, 7 Feb 2028 21:52:25 +0000" (RFC 5322 section 3.3) */
void trace_date(int64_t unix_s, struct buf *out);
