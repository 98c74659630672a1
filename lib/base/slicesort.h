/* SPDX-License-Identifier: MPL-2.0 */
/* slicesort: sorting in slices of work, for sets so large that nobody should wait for the whole.
 *
 *   struct slicesort s;
 *   slicesort_begin(&s, items, n, order, ctx);
 *   while (!slicesort_step(&s, 10000))
 *       ... let others have their turn ...
 *   slicesort_done(&s);                          whether it was brought to its end or not
 *
 * A merge sort, so stable: what compares equal keeps its order. As much memory again as the array.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"

typedef int slicesort_order(const void *ctx, const void *a, const void *b);

struct slicesort {
    const void **items; /* the caller's */
    const void **other;
    size_t n, width; /* of the runs that are in order */
    size_t left;     /* where the two runs begin that are being merged */
    size_t a, b;     /* taken of each */
    bool in_other;   /* the runs are in `other` */
    slicesort_order *order;
    const void *ctx;
};

/* items: n pointers; in order when slicesort_step has said true. ctx is handed to order. */
void slicesort_begin(struct slicesort *s, const void **items, size_t n, slicesort_order *order,
                     const void *ctx);
/* About `work` comparisons. True: all is in order. */
bool slicesort_step(struct slicesort *s, size_t work) MUST_USE;
void slicesort_done(struct slicesort *s);
