/* SPDX-License-Identifier: MPL-2.0 */
/* For back ends only: what stands behind struct store. Each function means what its namesake in
 * store.h says; store.c checks sizes, counts trips, and calls it. To add a back end: fill a
 * store_ops, give its opener a row in store.c, run the conformance suite (tests/store). */
#pragma once

#include "lib/store/store.h"

struct store_ops {
    const char *kind;
    void (*close)(struct store *s);
    int (*insert)(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
                  struct error *err);
    int (*update)(struct store *s, const struct store_change *change, uint64_t *ret_version,
                  int64_t *ret_time, struct error *err);
    int (*remove)(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                  struct error *err);
    int (*remove_range)(struct store *s, enum store_table table, struct slice from, struct slice to,
                        uint64_t *ret_n, struct error *err);
    int (*get)(struct store *s, enum store_table table, const struct slice *keys, size_t n,
               enum store_parts parts, enum store_level level, struct store_docs *docs,
               struct error *err);
    int (*range)(struct store *s, const struct store_query *query, struct store_docs *docs,
                 struct error *err);
    int (*time)(struct store *s, int64_t *ret_time, struct error *err);
    uint64_t (*pulse)(struct store *s); /* NULL: constant */
};

/* The first member of every back end's own struct. */
struct store {
    const struct store_ops *ops;
    bool atomic;
    struct store_settings settings;
};

int store_sqlite_open(const char *path, const struct store_settings *settings,
                      struct store **ret_store, struct error *err) MUST_USE;
int store_mongo_open(const char *uri, const struct store_settings *settings,
                     struct store **ret_store, struct error *err) MUST_USE;
int store_memory_open(const struct store_settings *settings, struct store **ret_store,
                      struct error *err) MUST_USE;
