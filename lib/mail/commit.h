/* SPDX-License-Identifier: MPL-2.0 */
/* The committer: from intents to records that are in the log. Inside lib/mail only; the protocols
 * call mail_commit (mail.h). docs/log.md gives the argument for what is done here.
 *
 *   queue     intents that wait, per account, in order of arrival
 *   turn      one record on its way into one account's log, and who waits for it. One per account
 *   batch     the turns that leave together: all accounts that had work when the last batch was out
 *   settling  finding out what became of a record whose outcome is not known
 *
 * Threads: two committer threads. On an atomic store one collects, builds and inserts while the
 * other answers what it inserted before. Elsewhere one stores the messages of a batch while the
 * other's records are in flight. Whatever has to read or to wait (cold replicas, segments, lost
 * slots, unknown outcomes, answers without a record) goes to mail->jobs, so that one account's
 * trouble does not hold up the others.
 */
#pragma once

#include "lib/mail/account.h"

struct commit_queue *commit_queue_new(struct account *a);
void commit_queue_free(struct commit_queue *q); /* must be empty */

struct committer *committer_new(struct mail *mail);
int committer_start(struct committer *c, struct error *err) MUST_USE;
/* Waits until nothing is queued or in flight, ends the threads. */
void committer_stop(struct committer *c);
void committer_free(struct committer *c);
/* Refuses what has waited too long; makes ready what waited for its next attempt. From the poller.
 */
void committer_tick(struct committer *c);
/* Stepped nodes: one batch, if any account is ready. */
bool committer_step(struct committer *c);

/* A noop behind the state at `st` (of seq n, seen at `seen`): the fence of sweeps. 0: it is in, at
 * n + 1, and in time; -ERR_CONFLICT: somebody was first; other errors: it may land yet, which does
 * no harm. */
int commit_noop(struct account *a, const struct state *st, int64_t seen,
                struct error *err) MUST_USE;

/* For metrics and tests. */
struct commit_counters {
    _Atomic uint64_t batches, records, intents, lost, looked_up, fences, given_up, without_record;
};
const struct commit_counters *commit_counters(struct mail *mail);
