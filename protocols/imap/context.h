/* SPDX-License-Identifier: MPL-2.0 */
/* context: searches that go on: SEARCH and SORT with RETURN (UPDATE), RFC 5267 section 4.3.
 *
 * A context keeps the compiled program of its command, with the command's arena, and the uids that
 * the client has as results; one of SORT also their order. Of each new version of the mailbox it
 * notes which messages are new or have changed; behind the next command, or in IDLE, the program is
 * run on these alone, as soon as they are announced, and ADDTO and REMOVEFROM say what has become
 * of the results. What is expunged leaves them right before its EXPUNGE.
 *
 * The CONTEXT hint makes no difference: a search that is done again costs what it costs.
 */
#pragma once

#include "protocols/imap/search_return.h"
#include "protocols/imap/sort_order.h"

#define CONTEXTS_MAX   8                  /* of one session */
#define CONTEXT_MEMORY ((size_t)64 << 10) /* of the command that one keeps */

/* Behind search_return_read: BAD for a tag that is in use; "* NO [NOUPDATE ...]" where there are
 * too many, and no context then. */
int context_check(struct imap *im, struct command *cmd, struct search_return *found) MUST_USE;
/* "* NO [NOUPDATE ...]", and no context: too many results. */
void context_refuse(struct imap *im, const struct command *cmd, struct search_return *found);
/* The command is done, and its results are told: they stay up to date from here on. Takes the
 * command's arena and the program out of the run; members: ascending, copied; ranking: of a SORT,
 * taken, may be NULL. */
void context_add(struct imap *im, struct command *cmd, const struct search_return *found,
                 struct search_run *run, const struct uidset *members, struct ranking *ranking);
