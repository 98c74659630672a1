/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/slicesort.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "lib/base/mem.h"

struct item {
    int key, number;
};

static int order(const void *ctx, const void *a, const void *b)
{
    const struct item *l = a, *r = b;

    ++*(size_t *)ctx;
    return (l->key > r->key) - (l->key < r->key);
}

static void check(size_t n, int keys, size_t work)
{
    struct item *items = mem_realloc0(n + 1, sizeof *items);
    const void **sorted = mem_realloc(NULL, n + 1, sizeof *sorted);
    size_t compared = 0, steps = 0;
    struct slicesort s;

    for (size_t i = 0; i < n; i++) {
        items[i] = (struct item){rand() % keys, (int)i};
        sorted[i] = &items[i];
    }
    slicesort_begin(&s, sorted, n, order, &compared);
    while (!slicesort_step(&s, work)) {
        steps++;
        cr_assert_leq(compared, steps * work * 2);
    }
    slicesort_done(&s);
    for (size_t i = 1; i < n; i++) {
        const struct item *a = sorted[i - 1], *b = sorted[i];

        cr_assert(a->key < b->key || (a->key == b->key && a->number < b->number), "%zu of %zu", i,
                  n);
    }
    free(items);
    free(sorted);
}

Test(slicesort, sorts_stably_in_slices)
{
    srand(1);
    for (size_t n = 0; n < 70; n++)
        for (size_t work = 1; work < 5; work++)
            check(n, 10, work);
    check(10000, 3, 100);
    check(10000, 1000000, 777);
    check(4096, 1, 1);
}

Test(slicesort, does_little_where_all_is_in_order)
{
    struct item items[1000];
    const void *sorted[1000];
    size_t compared = 0;
    struct slicesort s;

    for (int i = 0; i < 1000; i++) {
        items[i] = (struct item){i, i};
        sorted[i] = &items[i];
    }
    slicesort_begin(&s, sorted, 1000, order, &compared);
    cr_assert(slicesort_step(&s, 100000));
    slicesort_done(&s);
    cr_assert_lt(compared, 1010);
}

Test(slicesort, may_be_given_up)
{
    const void *sorted[3] = {&(struct item){3, 0}, &(struct item){2, 1}, &(struct item){1, 2}};
    size_t compared = 0;
    struct slicesort s;

    slicesort_begin(&s, sorted, 3, order, &compared);
    cr_assert_not(slicesort_step(&s, 1));
    slicesort_done(&s);
}
