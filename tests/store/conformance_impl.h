/* SPDX-License-Identifier: MPL-2.0 */
/* Shared by the files of the suite: what a check is given, how it says that something is wrong, and
 * short forms of the calls. A check is `void check_x(struct run *r)` and stands in one of the
 * lists. */
#pragma once

#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "tests/store/conformance.h"

struct run {
    const struct conformance_target *target;
    struct store *s, *other; /* two handles on the same data */
    const char *check;
    int failures; /* of this check */
};

void run_fail(struct run *r, int line, const char *what, const struct error *err);

#define EXPECT(r, cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            run_fail((r), __LINE__, #cond, NULL);                                                  \
    } while (0)
#define EXPECT_OK(r, call)                                                                         \
    do {                                                                                           \
        struct error err = {0};                                                                    \
        if ((call) != 0)                                                                           \
            run_fail((r), __LINE__, #call, &err);                                                  \
    } while (0)

struct check {
    const char *name;
    void (*run)(struct run *r);
};
#define CHECK(stem)                                                                                \
    {                                                                                              \
#stem, check_##stem                                                                        \
    }
extern const struct check checks_write[], checks_read[], checks_race[]; /* end with a NULL name */

/* n bytes of that value, owned. */
struct slice bytes_of(uint8_t fill, size_t n);
void bytes_done(struct slice s);

/* Of one document. */
enum store_outcome put(struct store *s, enum store_table table, struct slice key, struct slice head,
                       struct slice body);
int drop(struct store *s, enum store_table table, struct slice key, struct error *err);
/* In docs (to be done by the caller); NULL if there is none. */
struct store_doc *get(struct store *s, enum store_table table, struct slice key,
                      struct store_docs *docs);
bool holds(struct store *s, enum store_table table, struct slice key, struct slice head,
           struct slice body);
bool absent(struct store *s, enum store_table table, struct slice key);
/* 0: absent. */
uint64_t version_of(struct store *s, enum store_table table, struct slice key);
