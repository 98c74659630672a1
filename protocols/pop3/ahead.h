/* SPDX-License-Identifier: MPL-2.0 */
/* ahead: what a client that takes one message after the other will ask for next.
 *
 * From the second message in a row on, messages are read from the store in batches, which grow as
 * long as the client goes on, and the batch behind is on its way meanwhile (message_ahead.h: from
 * any store, since a client that asks message by message leaves a core idle). Nothing depends on
 * it: RETR and TOP open their message as always, and find it in memory.
 *
 * Memory: two batches of AHEAD_BYTES a connection, AHEAD_BYTES_IN_ALL for all connections of a
 * service; beyond that messages are read one by one. It is let go of when the client goes
 * elsewhere, while it takes a large message, and after AHEAD_KEEP_MS without a message.
 */
#pragma once

#include <stdint.h>

#include "lib/mail/message_ahead.h"

#define AHEAD_MESSAGES     ((size_t)64)
#define AHEAD_BYTES        ((uint64_t)256 << 10)
#define AHEAD_BYTES_IN_ALL ((uint64_t)64 << 20)
#define AHEAD_KEEP_MS      5000

struct pop3;

/* Messages of a maildrop in the order of their numbers; zeroed: none. */
struct ahead_batch {
    uint64_t first, end; /* numbers, [first, end) */
    uint64_t bytes;      /* counted in the service's ahead_bytes */
    size_t n;
    uint64_t ids[AHEAD_MESSAGES];
};

struct pop3_ahead {
    uint64_t last;      /* the number that was taken last; 0: none */
    size_t size;        /* messages of the next batch */
    int64_t keep_until; /* clock_mono_ms(); 0: nothing is held */
    struct ahead_batch here, coming;
    struct hold *hold;            /* of what is here */
    struct message_ahead *reader; /* of what is coming */
};

/* The client takes this message, which is there. Blocks on the store where it is worth it. */
void pop3_ahead_take(struct pop3 *p, uint64_t number);
/* Lets go of all that is in memory; who goes on in order is still known. May wait for a read. */
void pop3_ahead_drop(struct pop3 *p);
/* pop3_ahead_drop, if the client has not taken anything for long. */
void pop3_ahead_expire(struct pop3 *p);
