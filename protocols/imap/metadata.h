/* SPDX-License-Identifier: MPL-2.0 */
/* metadata: annotations of mailboxes and of the server (RFC 5464) as IMAP shows them.
 *
 * What clients set is kept in values of the mailbox or of the account (lib/mail/build.h), so it is
 * committed, counted and sent to other nodes like all else. Beside it are entries that follow from
 * other things: /private/specialuse of a mailbox (RFC 6154 section 4), and the server's
 * /shared/comment and /shared/admin, which are settings and read-only. Each account has its own
 * /private and /shared entries, as nobody else can reach its mailboxes.
 */
#pragma once

#include "protocols/imap/impl.h"

/* What GETMETADATA or LIST asks for. */
struct metadata_query {
    struct slice *entries; /* names in lower case, valid */
    size_t n;
    enum metadata_depth depth;
    bool has_maxsize;
    uint64_t maxsize;
    uint64_t longest; /* result: the longest value that was above maxsize; 0: none */
};

/* Takes the entries of a node: an ASTRING, or a LIST with a RULE_MANY of them. -ERR_INVALID with
 * BAD prepared: an entry name that cannot be. */
int metadata_entries(struct command *cmd, const struct arg *entries,
                     struct metadata_query *ret) MUST_USE;
/* A METADATA response; box NULL: of the server. Entries that were named and are not there have
 * NIL. */
void metadata_write(struct imap *im, const struct state *st, const struct mailbox *box,
                    struct metadata_query *query);
