/* SPDX-License-Identifier: MPL-2.0 */
/* SMTP command lines (RFC 5321 section 4.1.1), for LMTP and later submission and MX.
 *
 * Pure functions over one line without its CRLF. Nothing is copied: slices point into the line.
 */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

/* RFC 5321 4.5.3.1.4 says 512 octets, and extensions add to it; paths of SMTPUTF8 are longer. */
#define SMTP_LINE_MAX   4096
#define SMTP_PARAMS_MAX 24 /* ESMTP parameters of one MAIL or RCPT */

struct smtp_line {
    struct slice verb; /* as written; letters only */
    struct slice rest; /* behind the blank, trailing blanks taken off */
};
/* 0, -ERR_INVALID (no verb, or control characters). */
int smtp_line_parse(struct slice line, struct smtp_line *ret) MUST_USE;

struct smtp_param {
    struct slice keyword, value; /* value is empty where there is no "=" */
};

/* "FROM:<path> PARAM=value ..." or "TO:<path> ...". */
struct smtp_path {
    struct slice address; /* without angle brackets and source route; empty: the null path <> */
    struct smtp_param params[SMTP_PARAMS_MAX];
    size_t n_params;
};
/* prefix: "FROM:" or "TO:". 0, -ERR_INVALID, -ERR_LIMIT (parameters). */
int smtp_path_parse(struct slice rest, struct slice prefix, struct smtp_path *ret) MUST_USE;

/* "1000 LAST" of BDAT (RFC 3030). 0, -ERR_INVALID. */
int smtp_bdat_parse(struct slice rest, uint64_t *ret_size, bool *ret_last) MUST_USE;

/* "imap://... LAST" of BURL (RFC 4468). 0, -ERR_INVALID. */
int smtp_burl_parse(struct slice rest, struct slice *ret_url, bool *ret_last) MUST_USE;

/* The content of DATA, from the bytes after "354": takes the dots off and finds the end.
 * Only <CRLF>.<CRLF> ends it and only a dot after <CRLF> (or at the very start) is taken off. A
 * lone CR or LF is a byte of the message like others, so no peer that sees a line end there can
 * make us see another message (SMTP smuggling). */
struct smtp_dots {
    enum { DOTS_LINE_START, DOTS_TEXT, DOTS_CR, DOTS_DOT, DOTS_DOT_CR, DOTS_END } state;
};
/* Reads from `in` and calls feed for runs of content; stops at the end of the data. *ret_read:
 * bytes of `in` that are used up. 1: the end was reached; 0: more to come; <0: feed's. */
int smtp_dots_feed(struct smtp_dots *d, struct slice in, size_t *ret_read,
                   int (*feed)(void *ctx, struct slice bytes), void *ctx) MUST_USE;
