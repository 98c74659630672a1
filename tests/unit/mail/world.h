/* SPDX-License-Identifier: MPL-2.0 */
/* Random intents for one account, made into records, with the reference beside them. */
#pragma once

#include "lib/base/buf.h"
#include "tests/unit/mail/reference.h"

#define WORLD_BATCH 6

struct world {
    uint64_t seed;
    struct ref *ref;
    struct state *st;  /* the state that build_record gave */
    struct buf record; /* the last record, encoded */
    bool has_record;   /* the last step made one */
    uint64_t next_message;
    int64_t t_ms;
    struct intent intents[WORLD_BATCH];
    struct build_item items[WORLD_BATCH];
    struct slice words[WORLD_BATCH][2];
    size_t n;
};

void world_init(struct world *w, uint64_t seed, uint64_t quota);
void world_done(struct world *w);
/* Draws intents, builds, compares the results with the reference's. */
void world_step(struct world *w);
/* Builds what is in w->intents[0..n) and w->items. */
void world_commit(struct world *w);
uint32_t world_draw(struct world *w, uint32_t below);
/* Folds the last record, as it was encoded, on *st. */
void world_fold(struct world *w, struct state **st);
/* state_dump, for cr_assert. */
void check_same_dump(const struct state *a, const struct state *b, const char *what);
