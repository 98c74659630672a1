/* SPDX-License-Identifier: MPL-2.0 */
/* What dkim.c and dkim_keys.c share. */
#pragma once

#include <openssl/evp.h>

#include "lib/queue/dkim.h"

/* The keys of one domain, ready to sign; immutable but for `refs`. */
struct dkim_set {
    _Atomic unsigned refs;
    struct arena arena;
    size_t n;
    struct dkim_key keys[DKIM_KEYS_MAX];
    EVP_PKEY *ready[DKIM_KEYS_MAX];
};

/* From memory or the store. 0, with a reference for the caller; -ERR_UNAVAILABLE, -ERR_INTERNAL. */
int dkim_set_get(struct dkim *dkim, const char *domain, struct dkim_set **ret,
                 struct error *err) MUST_USE;
void dkim_set_unref(struct dkim_set *set); /* NULL is fine */
