/* SPDX-License-Identifier: MPL-2.0 */
/* A store that fails on purpose, in front of any other: for tests and the model check.
 *
 * At each call a fault is drawn by seed (or by a hook). Requests may be lost, replies may be lost
 * after the work was done, work may be done later (after the caller was told "unknown"), twice, or
 * by halves of a batch; reads may be refused, or answered from a moment ago where the level allows
 * it. Deterministic for one thread of calls; with several threads only the draws are.
 *
 * For reads, REFUSED, LOST and REPLY_LOST refuse; LATE and TWICE give, below STORE_LINEARIZABLE, an
 * old answer to the very same question again if there was one (with its old time, as a primary that
 * slept does); PARTLY, at STORE_ANY, leaves out some of the documents of a get. An atomic store
 * does all or nothing of a batch, PARTLY or not. What is still late when the store is closed never
 * comes.
 */
#pragma once

#include "lib/store/store.h"

enum fault {
    FAULT_NONE,
    FAULT_REFUSED,    /* -ERR_UNAVAILABLE, nothing done */
    FAULT_LOST,       /* writes: -ERR_UNKNOWN_OUTCOME, nothing done; reads: -ERR_UNAVAILABLE */
    FAULT_REPLY_LOST, /* done, and -ERR_UNKNOWN_OUTCOME */
    FAULT_LATE,       /* -ERR_UNKNOWN_OUTCOME, and done at a later call of anybody */
    FAULT_TWICE,      /* done, answered, and done again later */
    FAULT_PARTLY,    /* a batch: some items done, the answer is -ERR_UNKNOWN_OUTCOME (a wtimeout) */
    FAULT_TAKEN_OWN, /* insert: done, but the answer says TAKEN (its own document; seen on MongoDB);
                        update: done, but the answer is -ERR_CONFLICT (likewise) */
    FAULT_DELAY,     /* done and answered, some milliseconds later */
    FAULT_COUNT_
};

struct fault_plan {
    uint64_t seed;
    unsigned per_mille[FAULT_COUNT_]; /* chance of each at one call; the rest: none */
    unsigned late_calls;              /* FAULT_LATE, TWICE: how many calls later, at most */
    /* If set, asked instead of drawing: verb is "insert", "update", "get", ... */
    enum fault (*hook)(void *ctx, const char *verb, enum store_table table);
    void *ctx;
};

/* inner stays the caller's and must outlive the result; close the result with store_close. */
struct store *store_faulty_new(struct store *inner, const struct fault_plan *plan) MUST_USE;
/* Changes the plan between calls (all zero: healed; what is late stays so). The seed is not used.
 */
void store_faulty_set(struct store *store, const struct fault_plan *plan);
/* Carries out what is still to be done late. */
void store_faulty_flush(struct store *store);
/* What the store clock shows beyond the inner store's: tests move time on by hours. What is stored
 * already keeps its time. Several of these in front of one store: advance each, while all is quiet.
 */
void store_faulty_advance(struct store *store, int64_t ms);
