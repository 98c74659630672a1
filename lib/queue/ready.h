/* SPDX-License-Identifier: MPL-2.0 */
/* ready: what one runner knows of the due index, in memory: which entries are due, and which of
 * them goes next. Pure; the runner (runner.c) reads the rows and does the work.
 *
 * Entries lie by destination. A destination that has no room waits with all it has, and costs
 * nothing: 10,000 entries for a dead one are a number in memory. Those that have room take turns,
 * the one with the most urgent entry first (MT-PRIORITY); in one destination urgency comes first,
 * then age. So no destination delays another.
 *
 *   READY   may go out when its destination has room
 *   PARKED  not before a time: another runner has it, or its submission is under way
 *   TAKEN   the runner is at it
 *
 * Memory is bounded: what goes beyond is dropped, and `more` of its destination (or of all) is set:
 * the index has it still, and is read again when there is room (ready_wants_more).
 *
 * Times: *_mono are clock_mono_ms(), *_ms are store time. Not for several threads at once.
 */
#pragma once

#include <sys/queue.h>

#include "lib/queue/format.h"
#include "lib/queue/heap.h"

struct ready;
struct ready_dest;

enum ready_state { READY_READY, READY_PARKED, READY_TAKEN };

struct ready_item {
    uint64_t id;
    int64_t when_ms;     /* of its row, like number, turn, priority */
    int64_t deadline_ms; /* to be looked at then even if its destination has no room; INT64_MAX */
    int64_t until_mono;  /* PARKED */
    uint32_t turn;
    uint16_t number;
    int8_t priority;
    bool leased; /* was submitted here: the lease is ours already */
    bool look;   /* TAKEN for its deadline: there is no room to send it */
    enum ready_state state;
    struct ready_dest *dest;
    /* ready.c's own */
    size_t place, deadline_place;
    struct ready_item *next;
};

struct ready *ready_new(size_t items_max, size_t dest_max);
void ready_free(struct ready *r);

/* Learns of a row. Known ones change nothing; a newer turn of a known entry replaces it, unless it
 * is TAKEN. False: it was dropped for want of room. */
bool ready_add(struct ready *r, const struct queue_row *row, int64_t deadline_ms, bool leased);

/* The destination whose turn it is; NULL: none has anything that could go. */
struct ready_dest *ready_pick(struct ready *r);
const char *ready_dest_name(const struct ready_dest *d);
/* How many of its entries are TAKEN and not yet handed to the transport. */
unsigned ready_dest_starting(const struct ready_dest *d);
/* No room: not before then. */
void ready_wait(struct ready *r, struct ready_dest *d, int64_t until_mono);
/* There may be room now. */
void ready_no_wait(struct ready *r, struct ready_dest *d);
/* Its next entry, TAKEN; NULL: none. It goes to the end of the line of its like. */
struct ready_item *ready_take(struct ready *r, struct ready_dest *d);
/* One whose deadline has come, TAKEN, with `look`; NULL: none. */
struct ready_item *ready_take_overdue(struct ready *r, int64_t now_ms);
/* Any `leased` one that is READY, TAKEN with `look`; NULL: none. */
struct ready_item *ready_take_leased(struct ready *r);

/* Of a TAKEN one: it was handed to the transport. */
void ready_sent(struct ready_item *item);
/* Nothing is to be done with it any more (or its next row is to come); it is freed. */
void ready_drop(struct ready *r, struct ready_item *item);
/* Again, but not before then. */
void ready_park(struct ready *r, struct ready_item *item, int64_t until_mono);

/* Wakes what waited until now; when the next one wakes (INT64_MAX: none does). */
int64_t ready_tick(struct ready *r, int64_t now_mono);

/* Was something dropped that there is room for now? Then read the index again from its start; this
 * forgets it. */
bool ready_wants_more(struct ready *r);

size_t ready_count(const struct ready *r);
size_t ready_leased(const struct ready *r); /* of `leased` ones that are not TAKEN */
size_t ready_dests(const struct ready *r);
