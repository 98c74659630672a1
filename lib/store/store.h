/* SPDX-License-Identifier: MPL-2.0 */
/* The store port: all that a back end implements, and all that the rest of Eider knows of it.
 *
 * A store is a set of tables. A document has a key (bytes; byte order is the order of the table),
 * two values (`head`: small, read often; `body`: large, read on demand), and two things that the
 * store itself fills in at every insert and every change:
 *
 *   stored_ms  store time. It never goes backwards in what a majority has, and it is the only
 *              clock that decides anything (positions, horizons): no node's clock does.
 *   version    a value that this key never had before and never has again: the guard of updates.
 *
 * No mail semantics live below this line. The verbs are the ones that a single server, a replica
 * set and a sharded cluster all give atomically: insert by unique key, read by key, read a range of
 * keys, change or remove one document guarded by its version, delete.
 *
 * Durability: an insert, update or guarded removal that is acknowledged is in the journal of a
 * majority (SQLite: on disk). Deletes promise that only when the reply says so.
 *
 * Outcomes: "unknown" is a value. A request whose reply did not come may have happened, may happen
 * later, and may happen twice; the callers in lib/mail find out (docs/log.md). TAKEN is no
 * conclusion by itself either: what is there may be the caller's own document, even one that is
 * rolled back later; read the key with STORE_MAJORITY and look.
 *
 * Threads: every function may be called from any thread and blocks. Slices passed in are read
 * before the call returns. Calls end by themselves within `timeout_ms` of the settings, or a little
 * later (reads: `wait_ms` later). Errors: -ERR_UNAVAILABLE (nothing happened, or for reads: not
 * known now; try later), -ERR_UNKNOWN_OUTCOME (writes only), -ERR_TOOBIG (a document above
 * STORE_BODY_MAX), -ERR_INTERNAL.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/metrics.h"

/* Tables; key sizes in bytes. Integers in keys are big-endian, so byte order is numeric order. */
enum store_table {
    STORE_ACCOUNTS,  /* account(8) */
    STORE_ADDRESSES, /* normalised address, 3 to 320 bytes */
    STORE_DOMAINS,   /* normalised domain, 1 to 255 bytes */
    STORE_LOG,       /* account(8) seq(8): head = record. Insert-only */
    STORE_MESSAGES,  /* account(8) message id(8): head = digest, body = content. Immutable */
    STORE_BLOBS,     /* hash(32): head = state, body = bytes */
    STORE_BLOBLINKS, /* hash(16, its first half) account(8) message id(8): no values */
    STORE_SNAPSHOTS, /* account(8): head = manifest */
    STORE_SEGMENTS,  /* account(8) mailbox(8) first uid(4) seq(8): head = packed columns. Immutable
                      */
    STORE_QUEUE, /* queue id(8): head = envelope. Immutable (docs/queue.md, like the next three) */
    STORE_TEXTINDEX, /* account(8) part(4) segment(8): head = what describes a segment, or a part of
                        its lists. Immutable */
    STORE_QUEUEBODIES,  /* queue id(8) piece(4): head = whose, body = a part of a message. Immutable
                         */
    STORE_QUEUEENTRIES, /* queue id(8) number(2): head = recipients at one destination */
    STORE_QUEUEDUE,     /* when(8) queue id(8) number(2) turn(4): head = for what. Immutable */
    STORE_DKIM, /* domain NUL selector, 3 to 319 bytes: head = a key that signs outgoing mail */
    STORE_TABLES_
};

#define STORE_KEY_MAX  320
#define STORE_HEAD_MAX ((size_t)4 << 20)
#define STORE_BODY_MAX ((size_t)12 << 20) /* head and body together stay under a 16 MB document */

struct store; /* see store_impl.h for what a back end fills in */

struct store_settings {
    int timeout_ms; /* of one call, default 10,000 */
    int wait_ms;    /* for so long, from when the store was first found away, calls of store_get and
                       store_range try again instead of failing (an election takes seconds); later
                       ones fail at once again, so that an outage does not bind all threads.
                       Default 0 */
    int pool_size;  /* connections at most, default 32 */
};

/* "sqlite:/path/to/file" (made if absent), "mongodb://..." (database name in the path, default
 * eider), "memory:" (a new empty one, gone with the process; "memory:?atomic=0": one that is not
 * atomic, as MongoDB is not). Makes missing tables. settings may be NULL, zeroes are defaults.
 * 0, -ERR_INVALID (no such kind of store), -ERR_UNAVAILABLE, -ERR_INTERNAL (newer format). */
int store_open(const char *uri, const struct store_settings *settings, struct store **ret_store,
               struct error *err) MUST_USE;
void store_close(struct store *store);

/* One insert of a batch may hold any tables. True: the whole call is one transaction, items are
 * tried in order, and `group` and `after` below have their meaning. False (MongoDB): items are
 * tried in no order, each for itself; group must be 0 and `after` is not looked at. */
bool store_is_atomic(const struct store *store);
const char *store_kind(const struct store *store); /* "sqlite", "mongodb", "memory" */

/* --- writing --------------------------------------------------------------------------------- */

enum store_outcome {
    STORE_DONE,    /* inserted by this call, durably */
    STORE_TAKEN,   /* the key was there (or, atomic stores: its predecessor was not) */
    STORE_UNKNOWN, /* may or may not be there, now or later */
    STORE_REFUSED, /* definitely not inserted, now or later (disk full, an earlier item of its
                      group was not DONE) */
};

struct store_item {
    enum store_table table;
    struct slice key, head, body;
    /* Atomic stores: items with the same group other than 0 stand in a row; after one that is not
     * DONE the rest of the group is REFUSED. (A record does not go in without its message.) */
    uint32_t group;
    struct slice after; /* atomic stores: a key of the same table that must be there, or empty */
    enum store_outcome outcome; /* set by the call, always */
};

/* Inserts what is not there, unordered: one taken key does not stop the others.
 * *ret_time: store time of the reply (set if the return value is 0).
 * 0: every outcome is known; -ERR_UNKNOWN_OUTCOME: some are STORE_UNKNOWN; -ERR_UNAVAILABLE: all
 * are STORE_REFUSED; -ERR_TOOBIG, -ERR_INVALID: likewise. */
int store_insert(struct store *store, struct store_item *items, size_t n, int64_t *ret_time,
                 struct error *err) MUST_USE;

struct store_change {
    enum store_table table;
    struct slice key;
    uint64_t version; /* the guard: the version that was read */
    bool remove;      /* remove the document; else replace the values that are set: */
    bool set_head, set_body;
    bool last; /* the caller needs no new version, which may save a round trip: *ret_version is
                  then any */
    struct slice head, body;
};

/* Changes or removes one document if it has that version. *ret_version (may be NULL): the new one.
 * 0: done; -ERR_CONFLICT: it was not there with that version when the store looked (this says
 * nothing about later); -ERR_UNKNOWN_OUTCOME; -ERR_UNAVAILABLE; -ERR_TOOBIG. */
int store_update(struct store *store, const struct store_change *change, uint64_t *ret_version,
                 int64_t *ret_time, struct error *err) MUST_USE;

/* Unguarded; absent keys are fine. 0: gone durably; otherwise some may be left or go later. */
int store_delete(struct store *store, enum store_table table, const struct slice *keys, size_t n,
                 struct error *err) MUST_USE;
/* All keys in [from, to), bounds as in struct store_query. *ret_n (may be NULL): how many. Other
 * writes may come between two of the deletes. */
int store_delete_range(struct store *store, enum store_table table, struct slice from,
                       struct slice to, uint64_t *ret_n, struct error *err) MUST_USE;

/* --- reading --------------------------------------------------------------------------------- */

enum store_level {
    STORE_ANY,          /* immutable documents: any member may answer; absent proves nothing */
    STORE_MAJORITY,     /* from the primary, only what a majority has; may be old, never untrue */
    STORE_LINEARIZABLE, /* the newest, and proof that the primary is still one; slower */
};

enum store_parts { STORE_KEYS = 0, STORE_HEAD = 1, STORE_BODY = 2, STORE_BOTH = 3 };

struct store_doc {
    struct slice key, head, body; /* parts that were not asked for are empty */
    int64_t stored_ms;
    uint64_t version;
    bool found; /* store_get: false where the key is absent */
};

/* An answer; owns all its bytes. Zero it before use, store_docs_done when read. */
struct store_docs {
    struct store_doc *items;
    size_t n;
    bool more;    /* store_range: stopped at limit or max_bytes; there may be more before `to` */
    int64_t time; /* store time of the reply: the answer is true at a moment not before this */
    struct arena arena;
};
void store_docs_done(struct store_docs *docs);

/* items[i] answers keys[i]. */
int store_get(struct store *store, enum store_table table, const struct slice *keys, size_t n,
              enum store_parts parts, enum store_level level, struct store_docs *ret_docs,
              struct error *err) MUST_USE;

struct store_query {
    enum store_table table;
    struct slice from,
        to;           /* [from, to), may be shorter than keys; empty `to`: to the table's end */
    size_t limit;     /* documents at most; 0: no limit but max_bytes */
    size_t max_bytes; /* of values, about; at least one document comes; 0: 16 MiB */
    bool descending;  /* from the last key below `to` down to `from` */
    enum store_parts parts;
    enum store_level level;
};
int store_range(struct store *store, const struct store_query *query, struct store_docs *ret_docs,
                struct error *err) MUST_USE;

/* Store time now, as a reply gives it. */
int store_time(struct store *store, int64_t *ret_time, struct error *err) MUST_USE;

/* A number that differs from the last call's after another process has written (on SQLite; not
 * after this one has); a hint only. Constant where the back end has none. */
uint64_t store_pulse(struct store *store);

/* For /metrics: what each verb took, and how often it failed. */
enum store_verb {
    STORE_VERB_INSERT,
    STORE_VERB_UPDATE,
    STORE_VERB_DELETE,
    STORE_VERB_GET,
    STORE_VERB_RANGE,
    STORE_VERB_TIME,
    STORE_VERBS_
};
struct store_verb_counters {
    struct histogram times; /* of all calls, failed ones too */
    _Atomic uint64_t unavailable, unknown;
};
/* Valid as long as the store. */
const struct store_verb_counters *store_counters(const struct store *store, enum store_verb verb);
const char *store_verb_name(enum store_verb verb);

/* Round trips (SQLite: calls) made by the calling thread since it started; for log lines. */
uint64_t store_trips(void);
