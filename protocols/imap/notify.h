/* SPDX-License-Identifier: MPL-2.0 */
/* notify: what a client has asked to be told of by NOTIFY (RFC 5465), in IDLE, behind commands, and
 * while there is none.
 *
 * Of mailboxes that are not selected the session keeps the state of which the client knows all; the
 * newest state is compared with it. Mailboxes that did not change are shared by both, so a look
 * costs little more than one at each pointer. However much happens between two looks, each mailbox
 * is told once, so nothing grows while a client does not read.
 *
 * Of the selected mailbox the view (lib/mail/view.h) knows what is to be told; NOTIFY says which
 * kinds, and when.
 *
 *   cmd_notify.c    reads the command
 *   notify.c        which events are wanted; the selected mailbox
 *   notify_tell.c   all other mailboxes
 */
#pragma once

#include "protocols/imap/impl.h"
#include "protocols/imap/mailbox_filter.h"

/* Mailboxes in one command: each may be compared with all others; octets of it, as it is kept. */
#define NOTIFY_NAMES_MAX 1000
#define NOTIFY_MEMORY    ((size_t)512 << 10)

#define NOTIFY_MESSAGES (NOTIFY_MESSAGE_NEW | NOTIFY_MESSAGE_EXPUNGE | NOTIFY_FLAG_CHANGE)
#define NOTIFY_METADATA (NOTIFY_MAILBOX_METADATA | NOTIFY_SERVER_METADATA)

struct notify_group {
    struct mailbox_filter filter;
    unsigned events; /* enum notify_event; 0: NONE */
};

struct notify {
    struct arena arena; /* of the command: names, FETCH items */
    /* But for SELECTED and SELECTED-DELAYED. In the order of the command: of those that cover a
     * mailbox the first one counts. */
    struct notify_group *groups;
    size_t n_groups;
    unsigned any; /* events of all groups */

    unsigned selected;       /* events of the selected mailbox */
    bool at_once;            /* SELECTED: also expunges are told between commands */
    const struct arg *fetch; /* FETCH items of MessageNew, a LIST; NULL: none */
    struct watch *watch;     /* NULL: nothing is wanted */

    struct state *seen;      /* the client knows all of it */
    struct state *next;      /* and is being told of this one; NULL: of none */
    size_t at_seen, at_next; /* mailboxes that have been compared */
    uint64_t superior;       /* the last mailbox told for having got or lost inferiors */

    struct uidset arrived; /* of the selected mailbox: announced, still to be fetched for him */
    struct uidset own;     /* put there by himself */
    struct command fetch_command; /* row is set while it runs */
};

/* What a client did himself, and so is not told: "The server SHOULD omit notifying the client if
 * the event is caused by this client." */
struct notify_own {
    struct slice a, b; /* names and all above and below them: created, deleted, ... */
    uint64_t mailbox;  /* `count` messages came into it, with uids from `first` on; 0: none */
    uint32_t first;
    uint64_t count;
};

/* From now on this, in place of what was before; the notify is the session's. */
void imap_notify_begin(struct imap *im, struct notify *n);
/* The first group that covers the name; NULL: none. st: for what is subscribed. */
const struct notify_group *notify_group_of(const struct notify *n, const struct state *st,
                                           struct slice name);
/* Parts of imap_push: the selected mailbox; all others. */
int imap_notify_push_selected(struct imap *im, bool idle) MUST_USE;
int imap_notify_push_others(struct imap *im) MUST_USE;
/* "* STATUS name (...)" */
void notify_write_status(struct imap *im, const struct mailbox *box, bool modseq);
/* Tells of the other mailboxes; at about `max` octets it stops: true, call it again. */
bool notify_tell(struct imap *im, size_t max, const struct notify_own *own);
