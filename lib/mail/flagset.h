/* SPDX-License-Identifier: MPL-2.0 */
/* Interned sets of flags. One table serves all states of an account on one node: it only grows, and
 * a set in it stays where it is, so that a message needs four bytes for its flags and equal sets
 * are the same pointer. Indexes are this node's own affair and are never stored.
 *
 * Sets are equal when their keywords are spelled alike; what a keyword *is* does not depend on case
 * (keyword_cmp). The build step gives new keywords the spelling that the account has already.
 *
 * Threads: reading (flagsets_at) takes no lock; interning takes the table's.
 */
#pragma once

#include "lib/mail/state.h"

/* build_record refuses what would make sets with new combinations of keywords where there are so
 * many, or they take so much memory, and any change of flags at four times as much; folding refuses
 * nothing. */
#define FLAGSETS_MAX       65535
#define FLAGSETS_BYTES_MAX ((size_t)32 << 20)

struct flagsets;
struct flagsets *flagsets_new(void);
struct flagsets *flagsets_ref(struct flagsets *t);
void flagsets_unref(struct flagsets *t); /* NULL is fine */

/* The set with an index that flagsets gave. */
const struct flagset *flagsets_at(const struct flagsets *t, uint32_t index);
size_t flagsets_count(const struct flagsets *t);
/* Memory that they take, about. */
size_t flagsets_bytes(const struct flagsets *t);
/* keywords: valid, sorted by keyword_cmp, no doubles. */
const struct flagset *flagsets_intern(struct flagsets *t, uint8_t system,
                                      const struct slice *keywords, size_t n);
/* (old with add) without remove. NULL stands for no flags. What old has keeps its spelling. */
const struct flagset *flagsets_change(struct flagsets *t, const struct flagset *old,
                                      const struct flags *add, const struct flags *remove);

/* What one change makes of each set that it meets, by the set's index. Zero it; flagmemo_done. */
struct flagmemo {
    const struct flagset **items;
    size_t n;
};
const struct flagset *flagmemo_get(const struct flagmemo *m, uint32_t index); /* NULL: not yet */
void flagmemo_put(struct flagmemo *m, uint32_t index, const struct flagset *made);
void flagmemo_done(struct flagmemo *m);

/* The spelling of a keyword that is known in any case; false: not known. Valid as long as the
 * table. */
bool flagsets_keyword(const struct flagsets *t, struct slice keyword, struct slice *ret);
size_t flagsets_keywords_count(const struct flagsets *t);
void flagsets_each_keyword(const struct flagsets *t, void (*f)(void *ctx, struct slice keyword),
                           void *ctx);

bool flagset_has_keyword(const struct flagset *s, struct slice keyword);
/* ASCII letters without regard to case, then the shorter first. */
int keyword_cmp(struct slice a, struct slice b);
/* Sorts, drops doubles (the first one's spelling stays); gives the new number. */
size_t keywords_sort(struct slice *keywords, size_t n);
bool keyword_valid(struct slice keyword); /* see build.h */
