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
    bool atomic; /* the memory back end obeys it, the others state it */
    struct store_settings settings;
    struct store_verb_counters counters[STORE_VERBS_]; /* store.c's, like the next */
    _Atomic int64_t away_since;                        /* clock_mono_ms; 0: it answers */
};

int store_sqlite_open(const char *path, const struct store_settings *settings,
                      struct store **ret_store, struct error *err) MUST_USE;
int store_mongo_open(const char *uri, const struct store_settings *settings,
                     struct store **ret_store, struct error *err) MUST_USE;
int store_memory_open(const struct store_settings *settings, struct store **ret_store,
                      struct error *err) MUST_USE;

/* What store.c does before a back end is called, so that none needs to: every key has its table's
 * size; bounds of ranges are either empty or padded with zero bytes to the size of keys (tables
 * with keys of one size); values are within their limits; a group other than 0 comes to atomic
 * stores only; limit and max_bytes are never 0; n is not 0; ret_* and docs are never NULL; docs is
 * empty, and emptied again if the answer is an error; outcomes are STORE_REFUSED. */

/* Bytes of keys in that table; 0: they differ in size. */
size_t store_key_size(enum store_table table);
/* A lower-case word for messages and table names: "log", "messages". */
const char *store_table_name(enum store_table table);
/* A new zeroed item at the end of docs->items. */
struct store_doc *store_docs_push(struct store_docs *docs)
    __attribute__((returns_nonnull)) MUST_USE;
/* What a document costs of max_bytes. */
size_t store_doc_bytes(const struct store_doc *doc) MUST_USE;
