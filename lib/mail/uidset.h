/* SPDX-License-Identifier: MPL-2.0 */
/* Sets of uids as sorted, disjoint, non-adjacent ranges. Small: 100,000 uids in a row are one. */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"

struct uid_range {
    uint32_t first, last; /* both in the set; 1 <= first <= last */
};

struct uidset {
    struct uid_range *items;
    size_t n, cap;
};

void uidset_done(struct uidset *s);
void uidset_clear(struct uidset *s);
/* Cheap where uids come in ascending order; correct in any. */
void uidset_add(struct uidset *s, uint32_t uid);
void uidset_add_range(struct uidset *s, uint32_t first, uint32_t last);
void uidset_add_all(struct uidset *s, const struct uidset *other);
void uidset_remove(struct uidset *s, uint32_t uid);
bool uidset_has(const struct uidset *s, uint32_t uid);
/* Index of the first range that ends at or above uid; s->n if there is none. O(log n). */
size_t uidset_search(const struct uidset *s, uint32_t uid);
uint64_t uidset_count(const struct uidset *s);
struct uidset uidset_copy(const struct uidset *s);
/* What is in both; what is in a but not in b. Linear. */
struct uidset uidset_and(const struct uidset *a, const struct uidset *b);
struct uidset uidset_minus(const struct uidset *a, const struct uidset *b);
/* "1:4,7,9:12"; nothing for the empty set. */
void uidset_print(const struct uidset *s, struct buf *out);
/* varints: count, then gap and length of each; decoding refuses what encoding would not give
 * (-ERR_INTERNAL; *s is then empty). */
void uidset_encode(const struct uidset *s, struct buf *out);
int uidset_decode(struct uidset *s, struct cursor *in) MUST_USE;
/* The same with the ranges in an arena: not to be changed or done. */
int uidset_decode_arena(struct uidset *s, struct cursor *in, struct arena *arena) MUST_USE;

/* for (struct uidset_iter i = uidset_iter(&s); uidset_next(&i, &uid);) */
struct uidset_iter {
    const struct uidset *set;
    size_t range;
    uint64_t next;
};
struct uidset_iter uidset_iter(const struct uidset *s);
bool uidset_next(struct uidset_iter *i, uint32_t *ret_uid);
