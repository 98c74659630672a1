/* SPDX-License-Identifier: MPL-2.0 */
/* Memory: allocation that does not fail, and cleanup by scope.
 *
 * Sizes that come from outside are capped before anything is allocated for them (a cap met is an
 * ERR_LIMIT), so that running out of memory is a machine in trouble: mem_alloc then aborts.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

#include "lib/base/err.h"

void *mem_alloc(size_t n) __attribute__((malloc, returns_nonnull, alloc_size(1))) MUST_USE;
void *mem_zalloc(size_t n) __attribute__((malloc, returns_nonnull, alloc_size(1))) MUST_USE;
/* n * size with an overflow check. p may be NULL. */
void *mem_realloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull)) MUST_USE;
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull)) MUST_USE;
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2) MUST_USE;
void *mem_dup(const void *p, size_t n) MUST_USE;

/* About so much will be allocated in small pieces, by this thread, and kept: has it ready in one
 * go. (glibc lets the heap of any thread but the first grow by one page at a time, each of them a
 * system call that keeps the page faults of all other threads waiting.) */
void mem_make_room(size_t n);

#define NEW(type)          ((type *)mem_zalloc(sizeof(type)))
#define NEW_ARRAY(type, n) ((type *)mem_realloc0((n), sizeof(type)))
/* Zeroed array with an overflow check. */
void *mem_realloc0(size_t n, size_t size) __attribute__((returns_nonnull)) MUST_USE;

/* CLEANUP(buf_done) struct buf b = ...;  calls buf_done(&b) when b goes out of scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
/* CLEANUP_FREE char *p = NULL; */
#define CLEANUP_FREE CLEANUP(mem_free_ptr)
#define CLEANUP_FD   CLEANUP(mem_close_fd)

void mem_free_ptr(void *pp);
/* Closes *fd if it is not negative. */
void mem_close_fd(int *fd);

/* Hands a pointer on: gives its value and leaves NULL behind. */
#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __auto_type taken_ = (p);                                                                  \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __auto_type a_ = (a);                                                                      \
        __auto_type b_ = (b);                                                                      \
        a_ < b_ ? a_ : b_;                                                                         \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __auto_type a_ = (a);                                                                      \
        __auto_type b_ = (b);                                                                      \
        a_ > b_ ? a_ : b_;                                                                         \
    })
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A growable array in place: `items`, `n`, `cap` are the members that every such struct has.
 *   struct uids { uint32_t *items; size_t n, cap; };   *VEC_PUSH(&v) = 7;   VEC_DONE(&v); */
#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t n, cap;                                                                             \
    }
#define VEC_RESERVE(v, want)                                                                       \
    do {                                                                                           \
        size_t want_ = (want);                                                                     \
        if (want_ > (v)->cap) {                                                                    \
            (v)->cap = MAX(want_, (v)->cap ? (v)->cap * 2 : (size_t)8);                            \
            (v)->items = mem_realloc((v)->items, (v)->cap, sizeof *(v)->items);                    \
        }                                                                                          \
    } while (0)
/* A pointer to a new last item, uninitialised. */
#define VEC_PUSH(v)                                                                                \
    ({                                                                                             \
        __auto_type v_ = (v);                                                                      \
        VEC_RESERVE(v_, v_->n + 1);                                                                \
        &v_->items[v_->n++];                                                                       \
    })
#define VEC_DONE(v)                                                                                \
    do {                                                                                           \
        free((v)->items);                                                                          \
        (v)->items = NULL;                                                                         \
        (v)->n = (v)->cap = 0;                                                                     \
    } while (0)
