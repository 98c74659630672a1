/* SPDX-License-Identifier: MPL-2.0 */
/* Snapshots of accounts in the store: loading, saving, trimming the log below them. Inside lib/mail
 * only. The bytes are snapshot_format.h's.
 *
 * Any node may do any of this at any time; nothing here takes a lock that others would notice.
 * Saving writes the segments that changed, then the manifest, which replaces only the one that was
 * read before (guarded by its version). Trimming removes the records below a manifest only when
 * that manifest has been stored for the horizon, in store time; the manifest carries the (seq,
 * time) of one older manifest until that is so. The record at the manifest's own seq always stays.
 */
#pragma once

#include "lib/mail/account.h"

/* The account's state as last saved, no segment loaded; the empty one if there is no manifest.
 * *ret_time: store time of the reply. -ERR_UNAVAILABLE; -ERR_INTERNAL: damaged, or of a newer
 * version. */
int snapshot_load(struct mail *mail, uint64_t account, enum store_level level,
                  struct state **ret_st, int64_t *ret_time, struct error *err) MUST_USE;
/* Fills in the segments of st that hold messages in the ranges. All are read in as few calls as
 * may be. -ERR_CONFLICT: one is no longer stored (a newer manifest does without it): open again. */
int snapshot_load_segments(struct mail *mail, const struct state *st,
                           const struct load_range *ranges, size_t n, struct error *err) MUST_USE;
/* All segments of st. */
int snapshot_load_all(struct mail *mail, const struct state *st, struct error *err) MUST_USE;

/* The same for one version of a mailbox, which need not be of the newest state. */
int snapshot_load_mailbox(struct mail *mail, uint64_t account, const struct mailbox *box,
                          const struct load_range *ranges, size_t n, struct error *err) MUST_USE;

/* Saves the newest state if its tail is longer than min_tail records. Blocks. 0: saved, or not
 * needed; -ERR_CONFLICT: another node saved at the same time, which is as good, or has replaced a
 * segment that is needed here: the account is opened again before the next time. */
int snapshot_save(struct account *a, uint64_t min_tail, struct error *err) MUST_USE;
/* For fsck: saves st, all of it loaded and folded from the log alone, in place of a manifest that
 * is wrong or cannot be read. -ERR_CONFLICT: somebody else has saved since, or later records. */
int snapshot_replace(struct mail *mail, struct state *st, struct error *err) MUST_USE;
/* Removes records that the manifest in the store makes superfluous, and segments that it no longer
 * names. Blocks. */
struct trimmed {
    uint64_t records, segments;
};
int snapshot_trim(struct mail *mail, uint64_t account, struct trimmed *trimmed,
                  struct error *err) MUST_USE;
/* Has a snapshot made in the background if the tail of this state is long. */
void snapshot_wanted(struct account *a, uint64_t seq);
