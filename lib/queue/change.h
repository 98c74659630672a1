/* SPDX-License-Identifier: MPL-2.0 */
/* change: reading and changing entries. The entry's document is the one arbiter of who may attempt
 * it and of what became of its recipients: every change is guarded by the version that it was made
 * on, and a change of unknown outcome is found out by its mark.
 *
 * Threads: any; all block on the store. Errors: -ERR_UNAVAILABLE.
 */
#pragma once

#include "lib/queue/queue_impl.h"

/* What lies under one queue id and number. */
struct queue_found {
    struct queue_entry entry;
    struct queue_stored stored;
    int64_t queued_ms; /* store time of the envelope */
    /* The entry is there, its envelope is, and they belong together: it counts. Else it may be on
     * its way yet. */
    bool counts;
    bool damaged;       /* it counts, but cannot be read; then nothing else is set */
    struct arena arena; /* owns the strings */
};
/* Reads n entries with their envelopes, in two round trips. On 0, queue_found_done for each. */
int queue_find(struct queue *queue, const uint64_t *ids, const uint16_t *numbers, size_t n,
               struct queue_found *ret, struct error *err) MUST_USE;
void queue_found_done(struct queue_found *found);

/* Has edit(ctx, entry) change the entry and writes it, on newer and newer versions until one is in.
 * edit returns 1: write it; 0: nothing to change; below 0: given up. It sees the truth of some
 * moment, not always of the last one, and may be called again on a newer one.
 * 1: written, and *entry is what is there; 0 or below: as edit said; -ERR_UNAVAILABLE: not known,
 * the change may be in, or come yet; -ERR_NOTFOUND. */
int queue_change(struct queue *queue, struct queue_entry *entry, struct arena *arena,
                 int (*edit)(void *ctx, struct queue_entry *entry), void *ctx,
                 struct error *err) MUST_USE;

/* The row that the entry names. */
struct queue_row queue_row_of(const struct queue_entry *entry, int priority, int64_t deadline_ms);
/* The entry gets another row, at that time: in the entry itself only. */
void queue_entry_move(struct queue_entry *entry, int64_t row_ms);
/* Writes the row that the entry names (none, if it is done or held), then removes the old one. To
 * be done after the entry is changed: should it fail, the old row is found to be stale when its
 * time comes, and this is done then. */
int queue_row_renew(struct queue *queue, const struct queue_entry *entry,
                    const struct queue_stored *stored, int64_t deadline_ms, struct slice old_row,
                    struct error *err) MUST_USE;

/* Are all entries of the message done? Then its pieces can go (and nothing else yet: what is left
 * stays for the horizon, so that a late insert finds its place taken). 1, 0. */
int queue_all_done(struct queue *queue, uint64_t id, const struct queue_stored *stored,
                   struct error *err) MUST_USE;
int queue_pieces_delete(struct queue *queue, uint64_t id, uint64_t size,
                        struct error *err) MUST_USE;
