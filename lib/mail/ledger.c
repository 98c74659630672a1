/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/ledger.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

#define SLOTS (2 * LEDGER_BLOCK) /* a power of two, at most half full */

struct ledger_block {
    _Atomic uint32_t refs;
    uint32_t n, cap;
    struct ledger_entry *entries;
    uint16_t *slots; /* of a full block: index + 1 of an entry, or 0; open addressing */
};

static void block_unref(struct ledger_block *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(b->entries);
    free(b->slots);
    free(b);
}

static struct ledger_block *block_new(uint32_t cap)
{
    struct ledger_block *b = NEW(struct ledger_block);

    b->refs = 1;
    b->cap = cap;
    b->entries = mem_realloc(NULL, cap, sizeof *b->entries);
    return b;
}

/* Keys come from hashes and random ids, so that their bits need little mixing; who makes keys
 * collide on purpose makes 1,024 comparisons, in his own account. */
static uint32_t slot_of(const struct ledger *l, uint64_t a, uint64_t b)
{
    uint64_t x = (l->key == LEDGER_KEY_AB ? a ^ b : a) * 0x9e3779b97f4a7c15u;

    return (uint32_t)(x >> 40) & (SLOTS - 1);
}

static void block_index(const struct ledger *l, struct ledger_block *b)
{
    b->slots = NEW_ARRAY(uint16_t, SLOTS);
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t s = slot_of(l, b->entries[i].a, b->entries[i].b);

        while (b->slots[s])
            s = (s + 1) & (SLOTS - 1);
        b->slots[s] = (uint16_t)(i + 1);
    }
}

struct ledger *ledger_new(enum ledger_key key)
{
    struct ledger *l = NEW(struct ledger);

    l->refs = 1;
    l->key = key;
    return l;
}

struct ledger *ledger_ref(struct ledger *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void ledger_clear(struct ledger *l)
{
    for (size_t i = 0; i < l->n_blocks; i++)
        block_unref(l->blocks[i]);
    l->n_blocks = l->start = l->count = 0;
}

void ledger_unref(struct ledger *l)
{
    if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    ledger_clear(l);
    free(l->blocks);
    free(l);
}

struct ledger *ledger_own(struct ledger **l)
{
    struct ledger *old = *l, *copy;

    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1)
        return old;
    copy = ledger_new(old->key);
    copy->blocks = mem_realloc(NULL, old->n_blocks, sizeof(struct ledger_block *));
    copy->cap = copy->n_blocks = old->n_blocks;
    for (size_t i = 0; i < old->n_blocks; i++) {
        copy->blocks[i] = old->blocks[i];
        atomic_fetch_add_explicit(&copy->blocks[i]->refs, 1, memory_order_relaxed);
    }
    copy->start = old->start;
    copy->count = old->count;
    copy->dropped = old->dropped;
    ledger_unref(old);
    *l = copy;
    return copy;
}

/* The last block, with room for one more and held by nobody else. */
static struct ledger_block *room(struct ledger *l)
{
    struct ledger_block *last = l->n_blocks ? l->blocks[l->n_blocks - 1] : NULL, *copy;

    if (!last || last->n == LEDGER_BLOCK) {
        if (l->n_blocks == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 4;
            l->blocks = mem_realloc(l->blocks, l->cap, sizeof(struct ledger_block *));
        }
        return l->blocks[l->n_blocks++] = block_new(16);
    }
    if (atomic_load_explicit(&last->refs, memory_order_acquire) != 1) {
        copy = block_new(MIN(LEDGER_BLOCK, last->n + last->n / 2 + 8));
        copy->n = last->n;
        memcpy(copy->entries, last->entries, last->n * sizeof *last->entries);
        block_unref(last);
        last = l->blocks[l->n_blocks - 1] = copy;
    }
    if (last->n == last->cap) {
        last->cap = MIN(LEDGER_BLOCK, last->cap * 2);
        last->entries = mem_realloc(last->entries, last->cap, sizeof *last->entries);
    }
    return last;
}

void ledger_add(struct ledger *l, struct ledger_entry entry)
{
    struct ledger_block *b = room(l);

    b->entries[b->n++] = entry;
    l->count++;
    if (b->n == LEDGER_BLOCK && l->key != LEDGER_NO_KEY)
        block_index(l, b);
}

static const struct ledger_entry *front(const struct ledger *l)
{
    return l->count ? &l->blocks[0]->entries[l->start] : NULL;
}

bool ledger_is_stale(const struct ledger *l, int64_t t_ms, size_t max)
{
    return l->count > max || (l->count && front(l)->t_ms <= t_ms);
}

void ledger_prune(struct ledger *l, int64_t t_ms, size_t max)
{
    while (ledger_is_stale(l, t_ms, max)) {
        l->dropped = MAX(l->dropped, front(l)->seq);
        l->count--;
        if (++l->start < l->blocks[0]->n)
            continue;
        block_unref(l->blocks[0]);
        l->n_blocks--;
        memmove(l->blocks, l->blocks + 1, l->n_blocks * sizeof(struct ledger_block *));
        l->start = 0;
    }
}

static bool is_key(const struct ledger *l, const struct ledger_entry *e, uint64_t a, uint64_t b)
{
    return e->a == a && (l->key != LEDGER_KEY_AB || e->b == b);
}

static const struct ledger_entry *find_in(const struct ledger *l, const struct ledger_block *block,
                                          size_t from, uint64_t a, uint64_t b)
{
    const struct ledger_entry *found = NULL;

    if (!block->slots) {
        for (size_t i = block->n; i > from; i--)
            if (is_key(l, &block->entries[i - 1], a, b))
                return &block->entries[i - 1];
        return NULL;
    }
    /* entries went in oldest first, so that the last match of the chain is the newest */
    for (uint32_t s = slot_of(l, a, b); block->slots[s]; s = (s + 1) & (SLOTS - 1)) {
        const struct ledger_entry *e = &block->entries[block->slots[s] - 1];

        if (block->slots[s] > from && is_key(l, e, a, b) && (!found || e > found))
            found = e;
    }
    return found;
}

const struct ledger_entry *ledger_find(const struct ledger *l, uint64_t a, uint64_t b)
{
    for (size_t i = l->n_blocks; i; i--) {
        const struct ledger_entry *e = find_in(l, l->blocks[i - 1], i == 1 ? l->start : 0, a, b);

        if (e)
            return e;
    }
    return NULL;
}

static const struct ledger_entry *entry_at(const struct ledger *l, size_t n)
{
    size_t at = l->start + n;

    return &l->blocks[at / LEDGER_BLOCK]->entries[at % LEDGER_BLOCK];
}

const struct ledger_entry *ledger_next(struct ledger_iter *i)
{
    return i->n < i->ledger->count ? entry_at(i->ledger, i->n++) : NULL;
}

struct ledger_iter ledger_since(const struct ledger *l, uint64_t seq)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (entry_at(l, mid)->seq <= seq)
            low = mid + 1;
        else
            high = mid;
    }
    return (struct ledger_iter){.ledger = l, .n = low};
}
