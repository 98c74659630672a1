/* SPDX-License-Identifier: MPL-2.0 */
/* url: the IMAP URLs of CATENATE (RFC 4469): absolute paths to messages of the same account, or to
 * parts of them (RFC 5092 section 7, and RFC 5550's URL-PARTIAL):
 *
 *   /INBOX;UIDVALIDITY=785799047/;UID=113330/;SECTION=1.2/;PARTIAL=0.1024
 */
#pragma once

#include "protocols/imap/impl.h"

struct imap_url {
    struct slice mailbox; /* UTF-8; the arena's */
    uint32_t uidvalidity; /* 0: not said */
    uint32_t uid;
    struct imap_section *section; /* the whole message if it is not said */
    uint64_t offset, count;       /* PARTIAL; 0 and UINT64_MAX if it is not said */
};

/* 0; -ERR_INVALID: no such URL. */
int imap_url_parse(struct slice text, const struct parse_limits *limits, struct arena *arena,
                   struct imap_url *ret, struct error *err) MUST_USE;

/* Gives `write` the octets that the URL names, by pieces. 0; what write failed with;
 * -ERR_NOTFOUND: no such mailbox, message or part; -ERR_UNAVAILABLE, ... Blocks. */
int imap_url_copy(struct imap *im, const struct imap_url *url,
                  int (*write)(void *ctx, struct slice bytes), void *ctx,
                  struct error *err) MUST_USE;
