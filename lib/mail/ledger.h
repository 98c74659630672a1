/* SPDX-License-Identifier: MPL-2.0 */
/* Ledgers: what happened of late, in order of time: delivery hashes (I24), messages that left their
 * mailbox, uids that were expunged (I11).
 *
 * Entries are added at the end and fall off at the front, when they are too old or too many; so a
 * ledger is a row of blocks, shared between versions like everything in a state. Each block has a
 * small hash table, so that looking something up costs one probe per 1,024 entries. Times never
 * fall.
 *
 * Threads: as for states: a version is immutable once shared; ledger_add and ledger_prune are for
 * one that is not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LEDGER_BLOCK
#define LEDGER_BLOCK 1024u
#endif

/* deliveries: a and b are the hash. gone: message id, size << 32 | date. vanished: mailbox,
 * first uid << 32 | last uid, and the seq of the record that expunged them. */
struct ledger_entry {
    uint64_t a, b;
    int64_t t_ms;
    uint64_t seq;
};

enum ledger_key {
    LEDGER_NO_KEY, /* nothing is looked up, only walked through */
    LEDGER_KEY_A,
    LEDGER_KEY_AB,
};

struct ledger_block;
struct ledger {
    _Atomic uint32_t refs;
    enum ledger_key key;
    struct ledger_block **blocks;
    size_t n_blocks, cap;
    size_t start;     /* entries of the first block that have fallen off */
    size_t count;     /* entries in the ledger */
    uint64_t dropped; /* the highest seq that has fallen off */
};

struct ledger *ledger_new(enum ledger_key key);
struct ledger *ledger_ref(struct ledger *l);
void ledger_unref(struct ledger *l); /* NULL is fine */
/* *l, replaced by a copy if somebody else holds it too; then it may be changed. */
struct ledger *ledger_own(struct ledger **l);
void ledger_add(struct ledger *l, struct ledger_entry entry);
/* Drops what is not newer than t_ms, and all but the newest `max`. */
void ledger_prune(struct ledger *l, int64_t t_ms, size_t max);
void ledger_clear(struct ledger *l);
/* Would ledger_prune change anything? */
bool ledger_is_stale(const struct ledger *l, int64_t t_ms, size_t max);
/* The newest entry with this key, or NULL; b counts only with LEDGER_KEY_AB. */
const struct ledger_entry *ledger_find(const struct ledger *l, uint64_t a, uint64_t b);

/* for (struct ledger_iter i = {l}; (e = ledger_next(&i));) oldest first */
struct ledger_iter {
    const struct ledger *ledger;
    size_t n;
};
const struct ledger_entry *ledger_next(struct ledger_iter *i);
/* The same from the first entry with a seq above on; entries must be in order of seq. O(log). */
struct ledger_iter ledger_since(const struct ledger *l, uint64_t seq);
