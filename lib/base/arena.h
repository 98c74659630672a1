/* SPDX-License-Identifier: MPL-2.0 */
/* arena: many small allocations that end together (one per connection, one per command).
 *
 * Not for several threads at once. Memory is zeroed (but arena_raw's). `used` counts what was asked
 * for, so that a caller with untrusted input can refuse at a limit before it asks for more.
 */
#pragma once

#include <stddef.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes handed out since the last reset */
};

void *arena_alloc(struct arena *a, size_t n) __attribute__((returns_nonnull)) MUST_USE;
/* Not zeroed: for large values that are filled at once. */
void *arena_raw(struct arena *a, size_t n) __attribute__((returns_nonnull)) MUST_USE;
void *arena_array(struct arena *a, size_t n, size_t size) __attribute__((returns_nonnull)) MUST_USE;
/* A copy of the bytes with a NUL behind them that does not count. */
struct slice arena_slice(struct arena *a, struct slice s) MUST_USE;
char *arena_str(struct arena *a, struct slice s) MUST_USE;
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_USE;
/* Everything handed out is gone; one block is kept for the next round. */
void arena_reset(struct arena *a);
void arena_done(struct arena *a);

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
