/* SPDX-License-Identifier: MPL-2.0 */
/* loop: threads that wait for sockets, timers and tasks; one libevent base each.
 *
 * All code on a loop thread must be short and must never block: whoever has to wait for the store
 * or compute for long hands the work to a pool (lib/base/pool.h) and posts the result back.
 * A socket, its events and its timers belong to one loop for life and are touched on its thread
 * only; loop_post is the one way in from outside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "lib/base/err.h"

struct loop;
struct loops;

#define LOOPS_MAX 256
/* Bytes of loop_scratch. */
#define LOOP_SCRATCH ((size_t)64 << 10)

/* n: 1..LOOPS_MAX threads, or 0 for one per core; they run when this returns.
 * 0, -ERR_INVALID, -ERR_UNAVAILABLE (threads or file descriptors). */
int loops_new(unsigned n, struct loops **ret_loops, struct error *err) MUST_USE;
/* Ends the threads after the tasks posted so far and frees the bases; events still registered on
 * them are the owners' fault. NULL is fine. */
void loops_free(struct loops *loops);
unsigned loops_count(const struct loops *loops);
/* The i-th, for any i (modulo the count). */
struct loop *loops_get(struct loops *loops, unsigned i);
/* Each call gives the next one: connections are dealt out with it. Any thread. */
struct loop *loops_next(struct loops *loops);

/* A task: part of its owner's struct, run on the loop's thread in the order of posting. */
struct loop_task {
    STAILQ_ENTRY(loop_task) link;
    void (*run)(struct loop_task *task);
    bool queued; /* under the loop's lock */
};
/* Any thread, the loop's own included (it then runs in the next turn). A task that is posted
 * already and has not started stays as it is: so it is a wake-up that costs nothing if repeated. */
void loop_post(struct loop *loop, struct loop_task *task);

/* Posts fn(arg) and waits until it has run; on the loop's own thread calls it. */
void loop_call(struct loop *loop, void (*fn)(void *), void *arg);

bool loop_is_current(const struct loop *loop);
/* For events of one's own (the bus); use on the loop's thread only. */
struct event_base *loop_base(struct loop *loop);
/* LOOP_SCRATCH bytes for the duration of one callback: sockets are read into it. */
uint8_t *loop_scratch(struct loop *loop);

/* A timer: one shot, on the loop's thread. It is lazy: set to a later time it stays armed for the
 * earlier one and arms itself again, so that moving a deadline forward is free. */
struct loop_timer {
    struct event event;
    struct loop *loop;
    void (*run)(struct loop_timer *timer);
    int64_t due_ms;   /* clock_mono_ms() of the call; 0: none */
    int64_t armed_ms; /* what libevent knows; 0: nothing */
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop,
                     void (*run)(struct loop_timer *timer));
/* due_ms as clock_mono_ms() gives it; 0 is loop_timer_stop. In the past: in the next turn. */
void loop_timer_set(struct loop_timer *timer, int64_t due_ms);
void loop_timer_stop(struct loop_timer *timer);
/* Before its memory goes. */
void loop_timer_done(struct loop_timer *timer);
