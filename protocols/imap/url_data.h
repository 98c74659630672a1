/* SPDX-License-Identifier: MPL-2.0 */
/* url_data: the octets that an IMAP URL names, a piece at a time.
 *
 * Opened in a state of the account; a FETCH of the section would give the same (RFC 5092 section
 * 6), or, after url_data_decode, a FETCH BINARY. Who may have them is not looked at here.
 */
#pragma once

#include "protocols/imap/fetch_binary.h"
#include "protocols/imap/fetch_part.h"
#include "protocols/imap/url.h"

struct url_data {
    const struct imap_url *url; /* the caller's */
    struct account *account;    /* a reference */
    struct hold *hold;          /* of the digest */
    struct fetch_part part;
    struct buf fields; /* of HEADER.FIELDS */
    bool in_fields;
    uint64_t size;      /* octets in all */
    uint64_t pos, left; /* what is not read yet */
    bool decodes;
    struct fetch_binary binary;
};

/* Blocks, as all of them. 0; -ERR_NOTFOUND: no such mailbox, message or part; -ERR_UNAVAILABLE,
 * ... */
int url_data_open(struct account *account, struct state *st, const struct imap_url *url,
                  struct url_data *ret, struct error *err) MUST_USE;
/* Before anything is read: have a part without its transfer encoding. What has none is given as it
 * is. 1: size and nul are known; 0: it is until_ms (clock_mono_ms), call again; -ERR_NOPERM: an
 * encoding that is not known. */
int url_data_decode(struct url_data *d, int64_t until_ms, struct error *err) MUST_USE;
/* The decoded octets hold a NUL. */
bool url_data_has_nul(const struct url_data *d);
/* A transfer encoding was taken off, and there are so many lines now. */
bool url_data_was_encoded(const struct url_data *d, uint64_t *ret_lines);
/* Lines of what is not decoded; before anything is read. */
int url_data_lines(struct url_data *d, uint64_t *ret, struct error *err) MUST_USE;
/* Appends the next octets, some 100 KB at most; gives how many, 0 at the end. */
int url_data_read(struct url_data *d, struct buf *out, struct error *err) MUST_USE;
/* Zeroed is fine. */
void url_data_close(struct url_data *d);

/* All of it: gives `write` the octets by pieces. 0; what write failed with; as url_data_open. */
int url_data_copy(struct account *account, struct state *st, const struct imap_url *url,
                  int (*write)(void *ctx, struct slice bytes), void *ctx,
                  struct error *err) MUST_USE;
