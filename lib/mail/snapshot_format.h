/* SPDX-License-Identifier: MPL-2.0 */
/* Saved states as bytes: segments and manifests. What is read and written when is snapshot.h's
 * affair.
 *
 * A segment is up to 16,384 messages as columns, delta-coded and packed by zstd: about 10 bytes a
 * message. It is stored under key_segment(account, mailbox, first uid, stamp) and never changed
 * there. The stamp is the seq of the snapshot that first wrote it, shifted left by
 * SEGMENT_STAMP_SHIFT, plus random bits: two nodes may save the same seq with the messages cut into
 * segments differently, and neither may take the other's bytes for its own. (TAKEN under one's own
 * stamp: read it and compare.)
 *
 * A manifest is the rest of a state: `head` (mailboxes, their sums and segment lists, values,
 * subscriptions) and `body` (the ledgers). Both are zstd-packed and bounded on reading.
 *
 * Saving: state_compact -> snapshot_plan (with the manifest that is in the store now) ->
 * segment_encode and insert for each item with `write` -> manifest_encode -> store it, guarded ->
 * snapshot_plan_stored. A segment is known to be in the store only as long as the manifest in the
 * store names it; so a plan writes again what the current manifest does not name.
 *
 * Opening: manifest_decode -> state_from_manifest -> fold the tail; segments are loaded when
 * needed: mailbox_missing -> read -> segment_attach. Loading is filled into the segment itself, for
 * all versions of the mailbox that share it, at once; it changes no content.
 */
#pragma once

#include "lib/mail/state.h"

#define MANIFEST_VERSION           3
#define SEGMENT_VERSION            1
#define SEGMENT_STAMP_SHIFT        20
#define SEGMENT_STAMP(seq, random) ((uint64_t)(seq) << SEGMENT_STAMP_SHIFT | ((random)&0xfffff))

/* What a manifest says of one segment; first and stamp are the key with account and mailbox. */
struct segment_ref {
    uint64_t mailbox;
    uint32_t first, last; /* uids of the first and the last message */
    uint32_t count;       /* 1..SEGMENT_MESSAGES */
    uint64_t stamp;
};

/* A decoded manifest. Immutable; all memory is in its arena. */
struct manifest;
void manifest_free(struct manifest *m);
uint64_t manifest_seq(const struct manifest *m);
/* The older snapshot of which it is not yet known that it has matured: (0, 0) if there is none. */
struct manifest_mark {
    uint64_t seq;
    int64_t time; /* store time at which that snapshot was stored */
};
struct manifest_mark manifest_older(const struct manifest *m);
/* All segments that it names, by mailbox and uid. */
const struct segment_ref *manifest_segments(const struct manifest *m, size_t *ret_n);

/* -ERR_INTERNAL: damaged or of a newer version, or of another account. */
int manifest_decode(uint64_t account, struct slice head, struct slice body, struct manifest **ret,
                    struct error *err) MUST_USE;
/* The state it describes; no segment is loaded. Does not keep m. */
struct state *state_from_manifest(const struct manifest *m);

/* --- loading segments ------------------------------------------------------------------------ */

/* The unloaded segments of box that hold uids in [first, last]: fills at most `max`, gives how many
 * there are. */
size_t mailbox_missing(const struct mailbox *box, uint32_t first, uint32_t last,
                       struct segment_ref *ret, size_t max);
/* Fills in the segment of box that `ref` names. Fine if somebody else has done it meanwhile. Any
 * thread. -ERR_INTERNAL: damaged, of a newer version, or not what ref says; -ERR_NOTFOUND: box has
 * no such segment. */
int segment_attach(const struct mailbox *box, const struct segment_ref *ref, struct slice bytes,
                   struct error *err) MUST_USE;

/* --- saving ---------------------------------------------------------------------------------- */

/* Small segments beside ones that must be written anyway and that are not loaded: worth loading
 * before state_compact, so that a mailbox does not end as thousands of tiny segments. Calls as in
 * state_fold_needs. */
void state_compact_needs(const struct state *st,
                         void (*need)(void *ctx, uint64_t mailbox, uint32_t first, uint32_t last),
                         void *ctx);
/* The same state, sparse neighbouring segments merged where both are loaded; perhaps st itself. A
 * reference for the caller. The replica should go on with it (if st is still its newest). */
struct state *state_compact(struct state *st);

struct snapshot_item {
    struct segment_ref ref;
    struct segment *segment; /* of the plan's state */
    bool write; /* not in the current manifest under this key: segment_encode and insert it */
};
struct snapshot_plan {
    struct state *st; /* the plan's reference */
    struct snapshot_item *items;
    size_t n;
};
/* `current`: the manifest in the store, or NULL. `random`: for the stamp of new segments.
 * -ERR_UNAVAILABLE: a segment has to be written again but is not loaded: *ret_missing says which.
 */
int snapshot_plan(struct state *st, const struct manifest *current, uint32_t random,
                  struct snapshot_plan *ret, struct segment_ref *ret_missing,
                  struct error *err) MUST_USE;
/* The item's segment must be loaded (it is, where `write` is set). */
void segment_encode(const struct snapshot_plan *plan, const struct snapshot_item *item,
                    struct buf *out);
/* Head and body of the manifest. -ERR_LIMIT: larger than the store takes (the limits in build.h
 * prevent it). */
int manifest_encode(const struct snapshot_plan *plan, struct manifest_mark older, struct buf *head,
                    struct buf *body, struct error *err) MUST_USE;
/* The manifest is in the store: from now on unchanged segments carry their keys. */
void snapshot_plan_stored(struct snapshot_plan *plan);
void snapshot_plan_done(struct snapshot_plan *plan);
