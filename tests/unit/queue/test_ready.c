/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/queue/ready.h"

static struct queue_row row(uint64_t id, const char *destination, int priority, int64_t when)
{
    return (struct queue_row){
        .when_ms = when, .id = id, .priority = priority, .destination = slice_str(destination)};
}

static void add(struct ready *r, uint64_t id, const char *destination, int priority, int64_t when)
{
    struct queue_row w = row(id, destination, priority, when);

    cr_assert(ready_add(r, &w, INT64_MAX, false));
}

/* The next item of all; 0: none. */
static uint64_t next(struct ready *r)
{
    struct ready_dest *d = ready_pick(r);
    struct ready_item *item = d ? ready_take(r, d) : NULL;
    uint64_t id = item ? item->id : 0;

    if (item)
        ready_drop(r, item);
    return id;
}

Test(ready, ten_thousand_for_one_dead_destination_do_not_delay_another)
{
    struct ready *r = ready_new(100000, 20000);
    struct ready_dest *d;

    for (uint64_t i = 1; i <= 10000; i++)
        add(r, i, "dead.example", 0, (int64_t)i);
    add(r, 20000, "live.example", 0, 50000);
    d = ready_pick(r);
    cr_assert_str_eq(ready_dest_name(d), "dead.example");
    ready_wait(r, d, 1000); /* no room there */
    cr_assert_eq(next(r), 20000);
    cr_assert_null(ready_pick(r)); /* and it is not looked at again until it may have room */
    cr_assert_eq(ready_tick(r, 999), 1000);
    cr_assert_null(ready_pick(r));
    ready_tick(r, 1000);
    cr_assert_eq(next(r), 1);
    ready_free(r);
}

Test(ready, destinations_take_turns_and_the_urgent_goes_first)
{
    struct ready *r = ready_new(1000, 1000);

    add(r, 1, "a.example", 0, 1);
    add(r, 2, "a.example", 0, 2);
    add(r, 3, "a.example", 5, 9);
    add(r, 4, "b.example", 0, 1);
    add(r, 5, "b.example", -9, 0);
    add(r, 6, "c.example", 9, 100);
    cr_assert_eq(next(r), 6);
    cr_assert_eq(next(r), 3);
    cr_assert_eq(next(r), 4);
    cr_assert_eq(next(r), 1);
    cr_assert_eq(next(r), 2);
    cr_assert_eq(next(r), 5);
    cr_assert_eq(next(r), 0);
    cr_assert_eq(ready_dests(r), 0);
    ready_free(r);
}

Test(ready, a_known_row_changes_nothing_a_newer_turn_does)
{
    struct ready *r = ready_new(1000, 1000);
    struct queue_row w = row(1, "a.example", 0, 5);
    struct ready_item *item;

    ready_add(r, &w, 100, false);
    ready_add(r, &w, 100, false);
    cr_assert_eq(ready_count(r), 1);
    w.turn = 2;
    ready_add(r, &w, 100, false);
    item = ready_take(r, ready_pick(r));
    cr_assert_eq(item->turn, 2);
    w.turn = 3; /* it is at work: nothing is changed under its hands */
    ready_add(r, &w, 100, false);
    cr_assert_eq(item->turn, 2);
    cr_assert_null(ready_pick(r));
    ready_park(r, item, 500);
    cr_assert_eq(ready_tick(r, 0), 500);
    ready_tick(r, 500);
    cr_assert_not_null(ready_pick(r));
    ready_free(r);
}

Test(ready, deadlines_are_met_where_there_is_no_room)
{
    struct ready *r = ready_new(1000, 1000);
    struct queue_row w = row(1, "dead.example", 0, 5);
    struct ready_item *item;

    ready_add(r, &w, 100, false);
    ready_wait(r, ready_pick(r), 100000);
    cr_assert_null(ready_take_overdue(r, 99));
    item = ready_take_overdue(r, 100);
    cr_assert(item && item->look);
    ready_drop(r, item);
    cr_assert_eq(ready_count(r), 0);
    ready_free(r);
}

Test(ready, what_is_dropped_for_want_of_room_is_asked_for_again)
{
    struct ready *r = ready_new(1000, 4);

    for (uint64_t i = 1; i <= 10; i++) {
        struct queue_row w = row(i, "a.example", 0, (int64_t)i);

        cr_assert_eq(ready_add(r, &w, INT64_MAX, false), i <= 4);
    }
    cr_assert_not(ready_wants_more(r));
    for (int i = 0; i < 3; i++)
        next(r);
    cr_assert(ready_wants_more(r));
    cr_assert_not(ready_wants_more(r));
    ready_free(r);
}

Test(ready, what_was_submitted_here_is_found_to_be_given_back)
{
    struct ready *r = ready_new(1000, 1000);
    struct queue_row w = row(1, "a.example", 0, 5);
    struct ready_item *item;

    ready_add(r, &w, 100, true);
    add(r, 2, "a.example", 0, 1);
    cr_assert_eq(ready_leased(r), 1);
    item = ready_take_leased(r);
    cr_assert_eq(item->id, 1);
    cr_assert_null(ready_take_leased(r));
    ready_drop(r, item);
    ready_free(r);
}

struct thing {
    int value;
    size_t place;
};

static bool thing_before(const void *a, const void *b)
{
    return ((const struct thing *)a)->value < ((const struct thing *)b)->value;
}

/* Against a plain list, at random. */
Test(ready, heaps_keep_their_order)
{
    struct thing things[200] = {0};
    struct heap h = {thing_before, offsetof(struct thing, place)};
    unsigned dice = 1;

    for (int i = 0; i < 20000; i++) {
        struct thing *t, *least = NULL;

        dice = dice * 1103515245 + 12345;
        t = &things[(dice >> 8) % ARRAY_LEN(things)];
        if (dice >> 20 & 1) {
            t->value = (int)(dice >> 12 & 1023);
            heap_put(&h, t);
        } else {
            heap_remove(&h, t);
        }
        for (size_t k = 0; k < ARRAY_LEN(things); k++)
            if (things[k].place && (!least || things[k].value < least->value))
                least = &things[k];
        cr_assert_eq(heap_first(&h) ? ((struct thing *)heap_first(&h))->value : -1,
                     least ? least->value : -1);
    }
    heap_done(&h);
}
