/* SPDX-License-Identifier: MPL-2.0 */
/* mailbox_filter: which mailboxes are meant by filter-mailboxes of RFC 5465 section 6, with the
 * SUBTREE-ONE of RFC 7377; but for SELECTED, of which the session knows. */
#pragma once

#include "lib/mail/state.h"
#include "protocols/imap/rules.h"

struct mailbox_filter {
    enum mailbox_filter_kind kind;
    const struct arg *names; /* borrowed; of FILTER_SUBTREE, _SUBTREE_ONE, _MAILBOXES */
    size_t n_names;
};

/* word: a RULE_WORD of the filters in rules.c, which must outlive it. */
struct mailbox_filter mailbox_filter_read(const struct arg *word);
bool mailbox_filter_is_selected(enum mailbox_filter_kind kind);
/* st: for what is subscribed. */
bool mailbox_filter_covers(const struct mailbox_filter *f, const struct state *st,
                           struct slice name);
