/* SPDX-License-Identifier: MPL-2.0 */
/* Between the files of the directory: values coded and decoded, rows read and changed. */
#pragma once

#include "lib/auth/directory.h"
#include "lib/base/buf.h"
#include "lib/store/store.h"

struct directory {
    struct store *store;
    struct directory_options options; /* default_domain: own copy, normalised, never NULL */
    struct directory_cache *cache;    /* NULL: the store is in this process, no cache */
};

static inline const struct directory_options *directory_options(const struct directory *d)
{
    return &d->options;
}

/* ---- recipients remembered (directory_cache.c); any thread ---- */

struct directory_cache *directory_cache_new(void);
void directory_cache_free(struct directory_cache *c);      /* NULL is fine */
uint64_t directory_cache_reset(struct directory_cache *c); /* NULL is fine */
/* Into the arena. False: not remembered; hand *ret_changes to put. */
bool directory_cache_get(struct directory_cache *c, const char *key, struct arena *a,
                         struct directory_recipient **ret, size_t *ret_n, uint64_t *ret_changes);
void directory_cache_put(struct directory_cache *c, const char *key,
                         const struct directory_recipient *items, size_t n, uint64_t changes);

/* ---- values (directory_value.c) ---- */

#define DIRECTORY_VALUE_MAX ((size_t)1 << 20)

void account_encode(const struct directory_account *account, struct buf *out);
/* Into the arena. 0 or -ERR_INTERNAL: damaged, or of a later format. */
int account_decode(struct slice value, struct arena *a, struct directory_account *ret,
                   struct error *err) MUST_USE;
void alias_encode(const struct directory_alias *alias, struct buf *out);
int alias_decode(struct slice value, struct arena *a, struct directory_alias *ret,
                 struct error *err) MUST_USE;

void domain_encode(const struct directory_domain *domain, struct buf *out);
int domain_decode(struct slice value, struct arena *a, struct directory_domain *ret,
                  struct error *err) MUST_USE;

/* ---- rows (directory_row.c) ---- */

/* One row by key, from what a majority has (see proves_absence). Zero docs before; store_docs_done
 * after. docs->items[0] is the answer; 1 found, 0 not. */
int row_get(struct directory *d, enum store_table table, struct slice key, struct store_docs *docs,
            struct error *err) MUST_USE;
/* -ERR_EXISTS another value is there. What became of a lost reply is found out. */
int row_insert(struct directory *d, enum store_table table, struct slice key, struct slice value,
               struct error *err) MUST_USE;
/* Replaces the value at that version. -ERR_CONFLICT. *ret_version may be NULL. */
int row_replace(struct directory *d, enum store_table table, struct slice key, uint64_t version,
                struct slice value, uint64_t *ret_version, struct error *err) MUST_USE;
int row_remove(struct directory *d, enum store_table table, struct slice key, uint64_t version,
               struct error *err) MUST_USE;
/* The rows behind `after` (empty: from the start), at most limit. */
int row_range(struct directory *d, enum store_table table, struct slice after, size_t limit,
              struct store_docs *docs, struct error *err) MUST_USE;

/* The address row as an alias or login. 1 found, 0 not. */
int address_row(struct directory *d, const char *key, struct arena *a, struct directory_alias *ret,
                struct error *err) MUST_USE;

/* A secret that all nodes share, made at its first use: for the salts of users who are not there.
 * It lies in the accounts table under id 0, which no account has. */
int directory_secret(struct directory *d, uint8_t ret[static 32], struct error *err) MUST_USE;
