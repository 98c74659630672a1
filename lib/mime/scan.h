/* SPDX-License-Identifier: MPL-2.0 */
/* The tokens of RFC 5322 and RFC 2045, for the other files of this folder.
 *
 * Every function reads at the scan's position and skips comments and blanks behind what it read.
 * They return 1: more input follows; 0: the input ended here; -1: it is not what it should be (the
 * position is then where reading stopped, and out may have got a part).
 */
#pragma once

#include "lib/base/buf.h"

struct scan {
    const uint8_t *p, *end;
    struct buf *comment; /* gets the text of the last comment; NULL: nobody asks */
    bool mark_nul;       /* NUL becomes U+FFFD in strings and comments; else it stays */
};

#define SCAN_ATEXT 1 /* RFC 5322 atext, and all octets above 127 */
#define SCAN_TOKEN 2 /* RFC 2045 token */
extern const uint8_t scan_class[256];

static inline struct scan scan_of(struct slice s)
{
    return (struct scan){s.p, s.p + s.n, NULL, true};
}

static inline int scan_peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : -1;
}

static inline bool scan_at_atext(const struct scan *s)
{
    return s->p < s->end && (scan_class[*s->p] & SCAN_ATEXT);
}

int scan_cfws(struct scan *s);
int scan_atom(struct scan *s, struct buf *out);
/* Blanks around the dots are allowed, as RFC 822 did. */
int scan_dot_atom(struct scan *s, struct buf *out);
int scan_token(struct scan *s, struct buf *out);         /* may be empty */
int scan_quoted_string(struct scan *s, struct buf *out); /* at the '"' */
int scan_phrase(struct scan *s, struct buf *out);        /* words joined by one blank */
int scan_domain(struct scan *s, struct buf *out);        /* at the '@' */
