/* SPDX-License-Identifier: MPL-2.0 */
/* mailbox_list: all names of an account in the order in which LIST and LSUB give them, and for each
 * what its inferiors are like.
 *
 * Names are those of mailboxes, those that are subscribed, and the levels above either that are
 * neither. INBOX and what is below it come first; everywhere inferiors follow their superior ("/"
 * sorts before all other bytes). Making it costs O(n log n); entries borrow names and mailboxes
 * from the state, which must outlive the list.
 */
#pragma once

#include "lib/mail/state.h"

struct list_entry {
    struct slice name;
    const struct mailbox *box; /* NULL: no mailbox of this name */
    bool subscribed;
    bool matched;  /* by a pattern */
    bool level;    /* matched by a pattern that asks for levels: its last byte is "%" */
    bool selected; /* meets the selection criteria, whatever the patterns */
    /* something below it ... */
    bool has_children;   /* is a mailbox */
    bool child_selected; /* is selected */
    bool child_hidden;   /* is selected and not matched */
};

struct mailbox_list {
    struct list_entry *items;
    size_t n, cap;
};

struct list_query {
    const struct slice *patterns; /* reference and pattern in one, UTF-8 */
    size_t n_patterns;
    bool mailboxes;                             /* collect these ... */
    bool subscribed;                            /* ... and these */
    bool select_subscribed, select_special_use; /* criteria; without any: mailboxes */
};

void mailbox_list_make(const struct state *st, const struct list_query *query,
                       struct mailbox_list *ret);
void mailbox_list_done(struct mailbox_list *list);

/* Is there a mailbox below the name? Without a list; O(n). */
bool mailbox_has_children(const struct state *st, struct slice name);
