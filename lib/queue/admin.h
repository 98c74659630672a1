/* SPDX-License-Identifier: MPL-2.0 */
/* admin: the queue as its administrator sees and steers it (`eider queue`). It works while runners
 * are at it, on any node, and needs none: what it does is what a runner does, a guarded change of
 * an entry.
 *
 * Threads: any; everything blocks on the store. Errors beside those named: -ERR_UNAVAILABLE,
 * -ERR_INTERNAL.
 */
#pragma once

#include "lib/queue/change.h"

/* All that is set must fit. */
struct queue_filter {
    uint64_t id;             /* 0: any */
    int number;              /* of an entry; -1: any */
    const char *destination; /* NULL or "": any */
    const char *sender;      /* in any case */
    const char *recipient;   /* one of the entry's */
    uint64_t account;        /* 0: any */
    int64_t older_ms;        /* queued so long ago, by store time; 0: any */
    bool held;               /* only what is held */
};

/* Calls tell for each entry that fits and is not done, in the order of their ids; ends when it
 * returns false. What it gets is its own until it returns. */
int queue_list(struct queue *queue, const struct queue_filter *filter,
               bool (*tell)(void *ctx, struct queue_found *found), void *ctx,
               struct error *err) MUST_USE;

enum queue_action {
    QUEUE_RETRY,   /* attempt it now */
    QUEUE_HOLD,    /* attempt it no more, and let nothing expire, until it is released */
    QUEUE_RELEASE, /* attempt it now, and as usual from now on */
    QUEUE_DELETE,  /* forget it: no bounce, no attempt */
};
/* 1: done; 0: there is nothing to do (not held, an attempt is under way, done meanwhile). An
 * attempt that is under way goes on: those it reaches get the message. */
int queue_act(struct queue *queue, struct queue_found *found, enum queue_action action,
              struct error *err) MUST_USE;
