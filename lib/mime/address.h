/* SPDX-License-Identifier: MPL-2.0 */
/* Address lists (RFC 5322 section 3.4, with the obsolete forms, and what breaks them).
 *
 * Never fails: what cannot be read becomes an address with MISSING_MAILBOX, MISSING_DOMAIN or
 * SYNTAX_ERROR in the place concerned, the words that Dovecot uses and clients have seen for years.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"

/* As ENVELOPE wants it: {NULL, 0} is NIL. The start of a group has a mailbox and no domain, its end
 * neither (RFC 3501 section 7.4.2). Texts are not decoded (RFC 2047 words as they came), quoting
 * and folding is undone. */
struct address {
    struct address *next;
    struct slice name, route, mailbox, domain;
    bool invalid; /* something was mended */
};

#define ADDRESS_MAX 10000 /* addresses of one field that are read; the rest is ignored */

/* The list in arena memory; NULL if there is none. */
struct address *address_list_parse(struct arena *a, struct slice value);

/* The list as one would write it, as UTF-8 with encoded words decoded and without comments, for
 * searching in it: Ann <ann@example.org>, bob@example.org, Team: carl@example.org; */
void address_list_text(struct buf *out, const struct address *list);
