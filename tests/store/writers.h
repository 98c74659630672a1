/* SPDX-License-Identifier: MPL-2.0 */
/* Writers against a store that fails: they note what they were told of each key, and afterwards the
 * store must agree: DONE is there (I21), REFUSED is not (I23). With what such tests share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/store/store.h"

#define TIMEOUT_MS 10000
#define WRITERS    4

/* Counts and prints a failed expectation. */
void expect(bool ok, const char *what);
int writers_failures(void);
/* With TIMEOUT_MS; ends the program if it cannot. */
struct store *open_or_die(const char *uri);

struct writer;
struct writers {
    pthread_t threads[WRITERS];
    struct writer *w[WRITERS];
    atomic_bool stop;
};

void writers_start(struct writers *all, struct store *s);
/* Ends them, compares, prints a line of numbers. limit_ms: no call may have taken longer. */
void writers_stop(struct writers *all, int64_t limit_ms);
