/* SPDX-License-Identifier: MPL-2.0 */
/* view: what one session shows its client of one selected mailbox: sequence numbers, and what is
 * still to be told.
 *
 * The view holds the newest version of the mailbox that the session knows (`now`), the messages
 * that are gone from it but whose EXPUNGE has not been sent (they keep their sequence numbers and
 * their last data: I9), the uid from which on messages have not been announced (I8), and the uids
 * whose flags are to be told.
 *
 *   view_open            at SELECT; everything in the mailbox counts as announced
 *   view_update          takes in a newer version; nothing is sent, numbers do not change
 *   view_emit            says what may be said now: EXPUNGE (only if allowed: I7), EXISTS, FETCH
 * FLAGS, in this order; numbers change with it
 *
 * So a command that sees the present does: account_refresh, mailbox_load, view_update, ...,
 * view_emit. Changes made by the session itself come back like anybody else's: after STORE,
 * view_update and view_emit send the FETCH responses; STORE.SILENT registers view_silent before
 * view_update, and then only what does not follow from it is sent.
 *
 * Sequence numbers count from 1. Positions cost O(log n). Not for several threads at once.
 */
#pragma once

#include "lib/mail/mail.h"

struct view;

/* Updates with expunged messages of which the last data is kept until they are told. Of those
 * before, the uid alone is known: view_message says false, view_next gives a message with id 0. */
#define VIEW_BURIALS_MAX 500

/* Takes its own reference to box. */
struct view *view_open(struct mailbox *box);
void view_free(struct view *v);                           /* NULL is fine */
const struct mailbox *view_mailbox(const struct view *v); /* the newest version */

/* A newer version of the same mailbox. The segments in which the two differ must be loaded in both
 * (see mailbox_compare_needs in state.h). */
void view_update(struct view *v, struct mailbox *newest);

/* Before view_update, after an own STORE with .SILENT: these uids (done of the intent) got these
 * flags. */
void view_silent(struct view *v, const struct uidset *uids, enum flags_how how,
                 const struct flags *flags);
/* A FETCH with FLAGS of the newest version has been sent for uid: no need to tell it again. */
void view_told(struct view *v, uint32_t uid);
/* Have FLAGS of these uids sent by the next view_emit, changed or not (STORE without .SILENT that
 * changed nothing). */
void view_tell(struct view *v, const struct uidset *uids);

struct view_events {
    /* One of these two. expunge: highest number first; the number is the message's at that moment.
     * vanished: all at once (QRESYNC). */
    void (*expunge)(void *ctx, uint32_t seq, uint32_t uid);
    void (*vanished)(void *ctx, const struct uidset *uids);
    void (*exists)(void *ctx, uint32_t count);
    void (*flags)(void *ctx, uint32_t seq, const struct message *m);
};
/* `max` events at most (0: no limit; vanished counts as one). True: there is more that may be said
 * now; call again when the client has read. Numbers are consistent in between. */
bool view_emit(struct view *v, bool allow_expunge, size_t max, const struct view_events *events,
               void *ctx);
/* The same, of some kinds only; the others wait. EXPUNGE and EXISTS do not depend on each other. */
enum { VIEW_EXPUNGE = 1, VIEW_EXISTS = 2, VIEW_FLAGS = 4, VIEW_ALL = 7 };
bool view_emit_some(struct view *v, unsigned what, size_t max, const struct view_events *events,
                    void *ctx);
/* Is there anything that view_emit would say? */
bool view_pending(const struct view *v, bool allow_expunge);

/* Number of messages, as announced. */
uint32_t view_count(const struct view *v);
/* Messages from this uid on have not been announced. */
uint32_t view_bound(const struct view *v);
/* 0: no such number / no such message in view. */
uint32_t view_uid(const struct view *v, uint32_t seq);
uint32_t view_seq(const struct view *v, uint32_t uid);
/* False: no such message in view. *ret_gone (may be NULL): it has been expunged; the data is what
 * was known last. Its segment must be loaded. */
bool view_message(const struct view *v, uint32_t uid, struct message *ret, bool *ret_gone);

/* Those that are gone, and of which the client has not been told. */
const struct uidset *view_gone(const struct view *v);
/* HIGHESTMODSEQ that may be told: below everything that this client has not been told (I10). */
uint64_t view_modseq(const struct view *v);

/* --- loading (view_load.c) -------------------------------------------------------------------- */

/* Segments of the mailbox are loaded as they are touched. Whoever looks at messages in view has
 * them loaded first, by one of these; all block where something is to load.
 * -ERR_UNAVAILABLE; -ERR_CONFLICT: the version in view is so old that it is no longer stored, and
 * nothing but opening the mailbox again will help. */
struct seq_range;
/* All, or (uids not NULL) what holds these. */
int view_load(struct view *v, struct account *account, const struct uidset *uids,
              struct error *err) MUST_USE;
/* What view_resolve looks into. */
int view_load_set(struct view *v, struct account *account, const struct seq_range *ranges, size_t n,
                  bool by_uid, struct error *err) MUST_USE;
/* What view_update looks into; and what was loaded stays so in the newer version. */
int view_load_update(struct view *v, struct account *account, const struct mailbox *newest,
                     struct error *err) MUST_USE;

/* --- sequence sets --------------------------------------------------------------------------- */

/* A parsed set: ranges as written; 0 stands for "*". Order and overlaps as written. */
struct seq_range {
    uint32_t first, last;
};
/* "1:4,7,*:9" into ranges, at most `max`. -ERR_INVALID: syntax; -ERR_LIMIT: too many. */
int seqset_parse(struct slice text, struct seq_range *ret, size_t max, size_t *ret_n) MUST_USE;
/* The uids that a set of sequence numbers (by_uid false) or uids names, of the messages in view,
 * gone ones included. The result is for iterating with view_each. Cheap: ranges stay ranges, 1:* is
 * one. -ERR_INVALID: a sequence number that does not exist (RFC 3501 section 9: seq-number: "The
 * server should respond with a tagged BAD response"); uids that do not exist are fine. */
int view_resolve(const struct view *v, const struct seq_range *ranges, size_t n, bool by_uid,
                 struct uidset *ret, struct error *err) MUST_USE;

/* Walks the messages in view whose uids are in a set, in order. O(1) a message. All looked at must
 * be loaded. Ends being valid with view_update and view_emit. */
struct view_iter {
    const struct view *view;
    const struct uidset *uids;
    size_t range, ghost;
    uint32_t from; /* look for uids from here on */
    struct mailbox_iter at;
    struct message ahead; /* the next one of the mailbox; uid 0: not read */
    uint32_t index;       /* messages before it */
    bool started;
};
struct view_iter view_each(const struct view *v, const struct uidset *uids);
bool view_next(struct view_iter *i, uint32_t *ret_seq, struct message *ret, bool *ret_gone);
