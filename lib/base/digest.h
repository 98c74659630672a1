/* SPDX-License-Identifier: MPL-2.0 */
/* Hashes and random bytes, by OpenSSL. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define SHA256_SIZE 32

/* Streaming SHA-256. digest_new, digest_add as often as needed, digest_end once (frees). */
struct digest_ctx;
struct digest_ctx *digest_new(void);
void digest_add(struct digest_ctx *d, struct slice bytes);
void digest_end(struct digest_ctx *d, uint8_t ret_hash[static SHA256_SIZE]);
void digest_free(struct digest_ctx *d); /* without a result; NULL is fine */

void digest_sha256(struct slice bytes, uint8_t ret_hash[static SHA256_SIZE]);
void digest_hmac_sha256(struct slice key, struct slice bytes, uint8_t ret[static SHA256_SIZE]);

/* Cryptographic randomness; aborts if the system has none. */
void random_bytes(void *p, size_t n);
uint64_t random_u64(void);

/* SipHash-2-4 of bytes from outside, for hash tables; the key is drawn once per process. */
uint64_t hash_keyed(struct slice bytes);

/* Equal in time that depends on the lengths only. */
bool secret_eq(struct slice a, struct slice b);
/* Overwrites, and is not optimised away. */
void secret_wipe(void *p, size_t n);
