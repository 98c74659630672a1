/* SPDX-License-Identifier: MPL-2.0 */
/* password: hashes and verifiers of passwords.
 *
 * Passwords are prepared by SASLprep (RFC 4013) before anything is made of them or compared with
 * them; where a prepared one does not fit a ready hash from elsewhere, its raw bytes are tried.
 * Two sorts of things are stored of a password: a slow hash for logins that show it to us, and
 * SCRAM verifiers (RFC 5803) for those that do not, one for each hash function that SCRAM is
 * offered with. Who steals all attacks the weakest one: the number of SCRAM iterations matters as
 * much as the cost of the hash.
 *
 * Nothing here blocks but password_gate; nothing keeps state; passwords are wiped after use.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define PASSWORD_MAX      1024 /* bytes; longer ones are -ERR_LIMIT, before any work */
#define PASSWORD_HASH_MAX 1024 /* bytes of a stored hash */

enum password_scheme { PASSWORD_ARGON2ID, PASSWORD_YESCRYPT };

struct password_cost {
    enum password_scheme scheme;
    uint32_t argon2_memory; /* KiB */
    uint32_t argon2_passes;
    uint32_t yescrypt_cost;         /* 1-11 */
    uint32_t scram_iterations;      /* SHA-256; 0: make no verifier; else 4096-65536 */
    uint32_t scram_sha1_iterations; /* likewise */
};

/* The hash functions of SCRAM. */
enum scram_hash { SCRAM_SHA256, SCRAM_SHA1, SCRAM_HASHES };

/* "SCRAM-SHA-256", "SCRAM-SHA-1" */
const char *password_scram_name(enum scram_hash hash);
/* Iterations of new verifiers; 0: none are made. */
uint32_t password_scram_iterations(const struct password_cost *cost, enum scram_hash hash);

/* RFC 4013 by ICU; the prepared name or password is appended. Code points that Unicode 3.2 did not
 * know are let through (people use emoji in passwords, and stringprep leaves them as they are).
 * -ERR_INVALID empty, not UTF-8, prohibited characters, mixed directions, or nothing is left;
 * -ERR_LIMIT. */
int password_prepare(struct slice in, struct buf *out, struct error *err) MUST_USE;

/* A new hash ("$argon2id$..." or "$y$...") of a password as typed. -ERR_INVALID, -ERR_LIMIT. */
int password_hash(struct slice password, const struct password_cost *cost, struct buf *out,
                  struct error *err) MUST_USE;
/* A new "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey". Same ladder. */
int password_scram(struct slice password, enum scram_hash hash, uint32_t iterations,
                   struct buf *out, struct error *err) MUST_USE;
/* The same with a given salt: for tests. `prepared` is SASLprep'd. */
void password_scram_salted(struct slice prepared, enum scram_hash hash, struct slice salt,
                           uint32_t iterations, struct buf *out);
/* Puts a verifier together; the keys have the size of the hash (SHA256_SIZE bytes are there). */
void password_scram_write(enum scram_hash hash, uint32_t iterations, struct slice salt,
                          const uint8_t *stored, const uint8_t *server, struct buf *out);
/* Of which sort is this verifier? False: it is none. */
bool password_scram_kind(const char *text, enum scram_hash *ret);

/* Does the password fit? 0; -ERR_AUTH no; -ERR_INVALID the hash is of no kind we know;
 * -ERR_UNAVAILABLE there is no memory to find out. Hashes: $argon2id$ $argon2i$ $y$ $gy$ $7$
 * (scrypt) $2a$ $2b$ $2y$ $6$ $5$, and verifiers of SCRAM; a leading "{SCHEME}" as Dovecot writes
 * it is skipped. */
int password_verify(struct slice password, const char *hash) MUST_USE;
/* Is it a hash that password_verify knows? (Ready hashes are checked before they are stored. $1$
 * and DES hashes are refused: they are broken.) */
bool password_hash_known(const char *hash);

/* A random password for people: 20 letters and digits without look-alikes, in groups of five;
 * 99 bits. */
void password_random(struct buf *out);

/* Lets at most `slots` threads compute hashes at once, so that logins cannot take all workers' time
 * or all memory; others wait in line, at most `waiting`. */
struct password_gate;
struct password_gate *password_gate_new(unsigned slots, unsigned waiting) MUST_USE;
void password_gate_free(struct password_gate *g);
/* 0: a slot is yours until password_gate_leave. -ERR_UNAVAILABLE: too many wait already. */
int password_gate_enter(struct password_gate *g) MUST_USE;
void password_gate_leave(struct password_gate *g);
