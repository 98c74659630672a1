/* SPDX-License-Identifier: MPL-2.0 */
/* Line ends of what is submitted: in mail that is sent on, CR and LF are found as CRLF only (RFC
 * 5321 section 2.3.8). A lone one is made CRLF, so that no server behind us, whatever it takes for
 * a line end, sees another message than we did (SMTP smuggling). A pure function, in any cuts.
 */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct lines {
    bool cr; /* the last byte was a CR, and is not given yet */
};

/* Calls give for runs of bytes. 0; -ERR_INVALID: there is a NUL; <0: give's. */
int lines_feed(struct lines *l, struct slice in, int (*give)(void *ctx, struct slice bytes),
               void *ctx) MUST_USE;
/* The end: what is held back. */
int lines_finish(struct lines *l, int (*give)(void *ctx, struct slice bytes), void *ctx) MUST_USE;
