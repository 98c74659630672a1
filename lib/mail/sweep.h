/* SPDX-License-Identifier: MPL-2.0 */
/* Sweeping: what nobody needs any more is removed. Any node, any time, no locks.
 *
 * Messages: those stored longer ago than the horizon, in no mailbox and not in the undelete window,
 * behind a noop: a record that names one of them and is still on its way was built at or below that
 * noop, so it can never land; and one that is built later stores its message again.
 * Closed accounts: their messages likewise; when none is left and the last record has been stored
 * for the horizon: manifest, segments and log. Blobs: content_sweep (content.h).
 */
#pragma once

#include "lib/mail/account.h"

struct swept {
    uint64_t accounts, expired, messages, links, records, segments, erased, noops;
    struct content_swept blobs;
};

/* One account, now. Blocks. 0; -ERR_CONFLICT: it was written to meanwhile, come again;
 * -ERR_UNAVAILABLE. */
int sweep_account(struct mail *mail, uint64_t account, struct swept *swept,
                  struct error *err) MUST_USE;
/* The account after `after` that has anything in the store (log, messages, segments).
 * -ERR_NOTFOUND: none. */
int sweep_next_account(struct mail *mail, uint64_t after, uint64_t *ret_account,
                       struct error *err) MUST_USE;
/* Is anything of the account in the store, beside the directory? 1, 0. */
int sweep_account_remains(struct mail *mail, uint64_t account, struct error *err) MUST_USE;
/* All accounts and all blobs once. For tests, `eider fsck --all` and the background. */
int sweep_all(struct mail *mail, struct swept *swept, struct error *err) MUST_USE;

/* What the background asks of those who know accounts by name; called in its thread; NULL is fine.
 */
struct sweeper_hooks {
    /* Nothing is left of a deleted account: its directory entry can go. */
    void (*erased)(void *ctx, uint64_t account);
    /* How long messages may stay where neither mailbox nor account says (expire.h). */
    int64_t (*expire_ms)(void *ctx, uint64_t account);
    /* All accounts have been looked at. */
    void (*round)(void *ctx);
    void *ctx;
};

/* The thread that goes round, gently: one account each pause_ms (default 1,000); messages that are
 * too old are expunged first. */
struct sweeper *sweeper_start(struct mail *mail, int pause_ms, const struct sweeper_hooks *hooks);
/* What it has done since the start. NULL: nothing. */
struct swept sweeper_read_counters(struct sweeper *s);
void sweeper_stop(struct sweeper *s); /* NULL is fine */
