/* SPDX-License-Identifier: MPL-2.0 */
/* The queue's inside, for lib/queue and its tests. */
#pragma once

#include <pthread.h>

#include "lib/queue/format.h"
#include "lib/store/store.h"

/* Whoever in this process likes to have what is submitted at once (the runner): entries are then
 * stored as leased to him already, which saves him finding and leasing them. */
struct queue_taker {
    uint64_t owner;
    /* How long he wants the lease of so many entries, in ms; 0: he has enough to do. */
    int64_t (*offer)(void *ctx, size_t n);
    /* They are queued. The rows are the caller's. */
    void (*take)(void *ctx, const struct queue_row *rows, size_t n);
    void *ctx;
};

struct queue {
    struct store *store;
    struct dkim *dkim;    /* signs what is submitted */
    int64_t guard_ms;     /* a submission ends within this time of store time, or its outcome is
                             unknown;     12 h. Tests shorten these two alike */
    int64_t horizon_ms;   /* what nobody needs is swept when it is that old; 24 h */
    int64_t patience_ms;  /* how long an unreachable store is tried again; 20 s */
    pthread_mutex_t lock; /* guards what follows */
    int64_t heard_ms, heard_mono_ms; /* the latest store time, and clock_mono_ms() then */
    uint64_t last_id;
    struct queue_taker taker; /* take NULL: none */
    struct queue_recent
        *recent; /* bodies of what the taker has taken, by id; queue.c's, like ... */
    size_t recent_bytes;
};

/* NULL: none any more; returns when no call of the old one is under way. */
void queue_set_taker(struct queue *queue, const struct queue_taker *taker);

/* Store time, by what was heard last and the time since; it decides nothing by itself, but what is
 * written down by it (leases, times due) is compared with replies only. Blocks at first use. */
int64_t queue_now(struct queue *queue);
void queue_heard(struct queue *queue, int64_t store_time);

/* Inserts documents until each is known to be there, as ours: `is_ours` looks at what is in a taken
 * place (NULL: whatever is there will do). *ret_time: store time of the last reply.
 * 0; -ERR_EXISTS: another's is there; -ERR_UNAVAILABLE: some may be there, or come yet. */
int queue_insert_surely(struct queue *queue, struct store_item *items, size_t n,
                        bool (*is_ours)(const struct store_item *item, struct slice head),
                        int64_t *ret_time, struct error *err) MUST_USE;

/* Waits a little, longer each round. */
void queue_pause(int round);

/* The rows, as an item whose bytes lie in the arena. */
struct store_item queue_row_item(const struct queue_row *row, struct arena *arena);

struct queue_writer {
    struct queue *queue;
    struct queue_tag tag;
    uint64_t id;
    struct buf piece;           /* not stored yet */
    uint32_t pieces;            /* stored */
    uint64_t size;              /* octets fed */
    int64_t first_ms;           /* store time before the first piece was stored; 0: none is */
    struct dkim_signer *signer; /* has seen what was fed */
};
/* The item of the piece that is not stored yet. */
struct store_item queue_writer_item(const struct queue_writer *w, struct arena *arena);
/* Is it ours? For queue_insert_surely, of any of the four tables. */
bool queue_is_ours(const struct store_item *item, struct slice head);

/* Remembers the only piece of a message for those who read it next, or does not. Any thread. */
void queue_remember(struct queue *queue, const struct queue_writer *w);
void queue_forget(struct queue *queue, uint64_t id);

/* One message's body, for those who send or show it: keeps the piece read last. Zero it first. */
struct queue_reader {
    struct queue *queue;
    uint64_t id, size;
    struct queue_tag tag;
    uint32_t piece; /* number of what is in `bytes`, plus 1; 0: nothing */
    struct buf bytes;
};
/* Appends at most n bytes from offset on, at least one; offset is below size. Blocks.
 * -ERR_UNAVAILABLE; -ERR_NOTFOUND: a piece is gone. */
int queue_read(struct queue_reader *reader, uint64_t offset, size_t n, struct buf *out,
               struct error *err) MUST_USE;
void queue_reader_done(struct queue_reader *reader);
