/* SPDX-License-Identifier: MPL-2.0 */
/* An account as plain arrays: slow, obvious, and all that lib/mail's states are compared with.
 * Mirrors tests/model/fold.py and the rules in build.h; shares no code with them. */
#pragma once

#include "lib/mail/build.h"
#include "lib/mail/state.h"

#define REF_WORDS 4
extern const char *const ref_words[REF_WORDS]; /* the keywords that occur */

struct ref_message {
    uint32_t uid, size;
    uint64_t id, modseq;
    int64_t date, saved;
    uint8_t system, words; /* words: bits */
};

struct ref_box {
    uint64_t id, created, expunged, modseq;
    uint32_t uidvalidity, uidnext, uses;
    char name[64];
    struct ref_message *m;
    size_t n;
};

struct ref_event {
    uint64_t a, b;
    int64_t t_ms;
};

struct ref {
    uint64_t seq, ops; /* ops: of the record that is being made */
    int64_t t_ms;
    uint32_t last_uidvalidity;
    uint64_t quota; /* bytes; 0: none */
    struct ref_box *boxes;
    size_t n;
    struct ref_event *deliveries, *gone;
    size_t n_deliveries, n_gone;
    bool subscribed[16]; /* by index of name_pool */
};

#define REF_NAMES 10
extern const char *const ref_names[REF_NAMES];

struct ref *ref_new(void);
struct ref *ref_copy(const struct ref *r);
void ref_free(struct ref *r);

/* A record: begin, intents, end. `end` says whether there was anything; if not, all is as before.
 */
void ref_begin(struct ref *r, int64_t t_ms);
bool ref_end(struct ref *r);
/* Does what the intent wants; fills in the results of *expect (zeroed by the caller). */
void ref_intent(struct ref *r, const struct build_item *item, struct intent *expect);

/* Fails the test where they differ. */
void ref_check(const struct ref *r, const struct state *st);
void ref_check_results(const struct intent *expect, const struct intent *got);
struct ref_box *ref_named(struct ref *r, const char *name);
