/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/ready.h"

#include <uthash.h>

#include "lib/base/bytes.h"
#include "lib/base/mem.h"

#define PRIORITIES 19 /* -9 to 9 */

TAILQ_HEAD(line, ready_dest);

struct ready_dest {
    struct heap heap; /* its READY ones */
    size_t items;     /* all of them */
    unsigned starting;
    bool more;            /* some were dropped */
    int64_t until_mono;   /* waits until then */
    size_t waiting_place; /* in ready.waiting */
    int at;               /* the line it stands in; -1: none */
    TAILQ_ENTRY(ready_dest) link;
    UT_hash_handle hh;
    char name[];
};

struct ready {
    size_t items_max, dest_max;
    size_t items, leased;
    bool more;
    struct ready_dest *dests;      /* by name */
    struct line lines[PRIORITIES]; /* those that could go now, by the urgency of their first */
    struct heap waiting;           /* destinations, by until_mono */
    struct heap parked;            /* items, by until_mono */
    struct heap deadlines;         /* items that are not TAKEN, by deadline_ms */
    struct ready_item **slots;     /* by id and number */
    size_t slots_n;
};

/* --- orders ---------------------------------------------------------------------------------- */

static bool more_urgent(const void *a, const void *b)
{
    const struct ready_item *x = a, *y = b;

    if (x->priority != y->priority)
        return x->priority > y->priority;
    if (x->when_ms != y->when_ms)
        return x->when_ms < y->when_ms;
    return x->id != y->id ? x->id < y->id : x->number < y->number;
}

static bool wakes_earlier(const void *a, const void *b)
{
    return ((const struct ready_item *)a)->until_mono < ((const struct ready_item *)b)->until_mono;
}

static bool deadline_earlier(const void *a, const void *b)
{
    return ((const struct ready_item *)a)->deadline_ms <
           ((const struct ready_item *)b)->deadline_ms;
}

static bool waits_shorter(const void *a, const void *b)
{
    return ((const struct ready_dest *)a)->until_mono < ((const struct ready_dest *)b)->until_mono;
}

/* --- making ---------------------------------------------------------------------------------- */

struct ready *ready_new(size_t items_max, size_t dest_max)
{
    struct ready *r = NEW(struct ready);

    r->items_max = items_max;
    r->dest_max = dest_max;
    r->slots_n = 1024;
    r->slots = NEW_ARRAY(struct ready_item *, r->slots_n);
    for (size_t i = 0; i < PRIORITIES; i++)
        TAILQ_INIT(&r->lines[i]);
    r->waiting = (struct heap){waits_shorter, offsetof(struct ready_dest, waiting_place)};
    r->parked = (struct heap){wakes_earlier, offsetof(struct ready_item, place)};
    r->deadlines = (struct heap){deadline_earlier, offsetof(struct ready_item, deadline_place)};
    return r;
}

static void dest_free(struct ready *r, struct ready_dest *d)
{
    HASH_DEL(r->dests, d);
    heap_done(&d->heap);
    free(d);
}

void ready_free(struct ready *r)
{
    struct ready_dest *d, *next_dest;

    if (!r)
        return;
    for (size_t i = 0; i < r->slots_n; i++)
        for (struct ready_item *item = r->slots[i], *next; item; item = next) {
            next = item->next;
            free(item);
        }
    HASH_ITER (hh, r->dests, d, next_dest)
        dest_free(r, d);
    heap_done(&r->waiting);
    heap_done(&r->parked);
    heap_done(&r->deadlines);
    free(r->slots);
    free(r);
}

/* --- the table of items ---------------------------------------------------------------------- */

static struct ready_item **slot_of(struct ready *r, uint64_t id, uint16_t number)
{
    uint64_t h = (id ^ (uint64_t)number << 48) * 0x9e3779b97f4a7c15;

    return &r->slots[(h ^ h >> 32) & (r->slots_n - 1)];
}

static struct ready_item *find(struct ready *r, uint64_t id, uint16_t number)
{
    struct ready_item *item = *slot_of(r, id, number);

    while (item && (item->id != id || item->number != number))
        item = item->next;
    return item;
}

static void table_put(struct ready *r, struct ready_item *item)
{
    struct ready_item **slot = slot_of(r, item->id, item->number);

    item->next = *slot;
    *slot = item;
}

static void table_remove(struct ready *r, struct ready_item *item)
{
    struct ready_item **at = slot_of(r, item->id, item->number);

    while (*at != item)
        at = &(*at)->next;
    *at = item->next;
}

static void table_grow(struct ready *r)
{
    struct ready_item **old = r->slots;
    size_t n = r->slots_n;

    r->slots_n *= 2;
    r->slots = NEW_ARRAY(struct ready_item *, r->slots_n);
    for (size_t i = 0; i < n; i++)
        for (struct ready_item *item = old[i], *next; item; item = next) {
            next = item->next;
            table_put(r, item);
        }
    free(old);
}

/* --- destinations ---------------------------------------------------------------------------- */

static struct ready_dest *dest_of(struct ready *r, struct slice name)
{
    struct ready_dest *d;

    HASH_FIND(hh, r->dests, name.p, name.n, d);
    if (d)
        return d;
    d = mem_zalloc(sizeof *d + name.n + 1);
    if (name.n)
        memcpy(d->name, name.p, name.n);
    d->heap = (struct heap){more_urgent, offsetof(struct ready_item, place)};
    d->at = -1;
    HASH_ADD_KEYPTR(hh, r->dests, d->name, name.n, d);
    return d;
}

/* Where it has to stand, by what it has; does not lose its place in the line without need. */
static void dest_place(struct ready *r, struct ready_dest *d, bool to_the_end)
{
    const struct ready_item *first = heap_first(&d->heap);
    int at = first && !d->waiting_place ? 9 - first->priority : -1;

    if (at == d->at && !to_the_end)
        return;
    if (d->at >= 0)
        TAILQ_REMOVE(&r->lines[d->at], d, link);
    d->at = at;
    if (at >= 0)
        TAILQ_INSERT_TAIL(&r->lines[at], d, link);
}

/* Forgets it when nothing is left of it. */
static void dest_check(struct ready *r, struct ready_dest *d)
{
    if (d->items || d->starting || d->more)
        return;
    heap_remove(&r->waiting, d);
    if (d->at >= 0)
        TAILQ_REMOVE(&r->lines[d->at], d, link);
    dest_free(r, d);
}

const char *ready_dest_name(const struct ready_dest *d)
{
    return d->name;
}

unsigned ready_dest_starting(const struct ready_dest *d)
{
    return d->starting;
}

struct ready_dest *ready_pick(struct ready *r)
{
    for (size_t i = 0; i < PRIORITIES; i++)
        if (!TAILQ_EMPTY(&r->lines[i]))
            return TAILQ_FIRST(&r->lines[i]);
    return NULL;
}

void ready_wait(struct ready *r, struct ready_dest *d, int64_t until_mono)
{
    d->until_mono = until_mono;
    heap_put(&r->waiting, d);
    dest_place(r, d, false);
}

void ready_no_wait(struct ready *r, struct ready_dest *d)
{
    heap_remove(&r->waiting, d);
    dest_place(r, d, false);
}

/* --- items ----------------------------------------------------------------------------------- */

static void make_ready(struct ready *r, struct ready_item *item)
{
    item->state = READY_READY;
    item->look = false;
    r->leased += item->leased;
    heap_put(&item->dest->heap, item);
    heap_put(&r->deadlines, item);
    dest_place(r, item->dest, false);
}

/* Out of all heaps. */
static void withdraw(struct ready *r, struct ready_item *item)
{
    if (item->state == READY_READY) {
        heap_remove(&item->dest->heap, item);
        r->leased -= item->leased;
    } else if (item->state == READY_PARKED) {
        heap_remove(&r->parked, item);
    }
    heap_remove(&r->deadlines, item);
}

static bool replace(struct ready *r, struct ready_item *item, const struct queue_row *row,
                    int64_t deadline_ms)
{
    if (item->state == READY_TAKEN || row->turn <= item->turn)
        return true;
    withdraw(r, item);
    item->turn = row->turn;
    item->when_ms = row->when_ms;
    item->deadline_ms = deadline_ms;
    item->leased = false;
    make_ready(r, item);
    return true;
}

bool ready_add(struct ready *r, const struct queue_row *row, int64_t deadline_ms, bool leased)
{
    struct ready_item *item = find(r, row->id, row->number);
    struct ready_dest *d;

    if (item)
        return replace(r, item, row, deadline_ms);
    if (r->items >= r->items_max) {
        r->more = true;
        return false;
    }
    d = dest_of(r, row->destination);
    if (d->items >= r->dest_max) {
        d->more = true;
        return false;
    }
    item = NEW(struct ready_item);
    *item = (struct ready_item){.id = row->id,
                                .number = row->number,
                                .turn = row->turn,
                                .when_ms = row->when_ms,
                                .priority = (int8_t)row->priority,
                                .deadline_ms = deadline_ms,
                                .leased = leased,
                                .dest = d};
    if (++r->items > r->slots_n)
        table_grow(r);
    table_put(r, item);
    d->items++;
    make_ready(r, item);
    return true;
}

static void take(struct ready *r, struct ready_item *item, bool look)
{
    withdraw(r, item);
    item->state = READY_TAKEN;
    item->look = look;
    item->dest->starting += !look;
    dest_place(r, item->dest, true);
}

struct ready_item *ready_take(struct ready *r, struct ready_dest *d)
{
    struct ready_item *item = heap_first(&d->heap);

    if (item)
        take(r, item, false);
    return item;
}

struct ready_item *ready_take_overdue(struct ready *r, int64_t now_ms)
{
    struct ready_item *item = heap_first(&r->deadlines);

    if (!item || item->deadline_ms > now_ms)
        return NULL;
    take(r, item, true);
    return item;
}

struct ready_item *ready_take_leased(struct ready *r)
{
    for (size_t i = 0; i < r->slots_n && r->leased; i++)
        for (struct ready_item *item = r->slots[i]; item; item = item->next)
            if (item->leased && item->state == READY_READY) {
                take(r, item, true);
                return item;
            }
    return NULL;
}

void ready_sent(struct ready_item *item)
{
    if (!item->look) {
        item->look = true; /* counted off */
        item->dest->starting--;
    }
}

void ready_drop(struct ready *r, struct ready_item *item)
{
    struct ready_dest *d = item->dest;

    if (item->state == READY_TAKEN)
        ready_sent(item);
    else
        withdraw(r, item);
    table_remove(r, item);
    r->items--;
    d->items--;
    free(item);
    dest_place(r, d, false);
    dest_check(r, d);
}

void ready_park(struct ready *r, struct ready_item *item, int64_t until_mono)
{
    if (item->state == READY_TAKEN)
        ready_sent(item);
    else
        withdraw(r, item);
    item->state = READY_PARKED;
    item->leased = false;
    item->until_mono = until_mono;
    heap_put(&r->parked, item);
}

int64_t ready_tick(struct ready *r, int64_t now_mono)
{
    struct ready_dest *d;
    struct ready_item *item;
    int64_t next = INT64_MAX;

    while ((d = heap_first(&r->waiting)) && d->until_mono <= now_mono)
        ready_no_wait(r, d);
    while ((item = heap_first(&r->parked)) && item->until_mono <= now_mono) {
        heap_remove(&r->parked, item);
        make_ready(r, item);
    }
    if (d)
        next = d->until_mono;
    return item ? MIN(next, item->until_mono) : next;
}

bool ready_wants_more(struct ready *r)
{
    struct ready_dest *d, *next;
    bool wants = r->more && r->items < r->items_max - r->items_max / 4;

    HASH_ITER (hh, r->dests, d, next)
        wants = wants || (d->more && d->items < r->dest_max / 2);
    if (!wants)
        return false;
    r->more = false;
    HASH_ITER (hh, r->dests, d, next) {
        d->more = false;
        dest_check(r, d);
    }
    return true;
}

size_t ready_count(const struct ready *r)
{
    return r->items;
}

size_t ready_leased(const struct ready *r)
{
    return r->leased;
}

size_t ready_dests(const struct ready *r)
{
    return HASH_COUNT(r->dests);
}
