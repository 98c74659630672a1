/* SPDX-License-Identifier: MPL-2.0 */
/* dkim: signatures of outgoing mail (RFC 6376, RFC 8463), and the keys for them in the store.
 *
 * A signer sees the message once, as it comes. Which domain signs is said at the end, so it can be
 * started before the sender is known:
 *
 *     struct dkim_signer *s = dkim_signer_new();
 *     dkim_signer_feed(s, piece);            as often as there are pieces
 *     n = dkim_sign(dkim, s, "example.org", &head, &err);
 *     dkim_signer_free(s);
 *
 * A domain has any number of keys, RSA and Ed25519; each that is active adds a signature of its own
 * (RFC 8463 section 3), canonicalised relaxed/relaxed. Times alone decide whether a key is waiting,
 * active or retired, so nothing has to run when it changes: `eider dkim rotate` makes the next keys
 * now, for the DNS, to be signed with from a day later on.
 *
 * Threads: any; one signer is one thread's at a time. What reads keys blocks on the store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"

struct store;
struct dkim;
struct dkim_signer;

#define DKIM_HEADER_MAX   ((size_t)512 << 10) /* header fields that are signed; more: not signed */
#define DKIM_KEYS_MAX     8                   /* of one domain, all statuses together */
#define DKIM_SELECTOR_MAX 63

/* Does not own the store. Keys that were read are remembered for cache_ms; 0: 30 s. */
struct dkim *dkim_new(struct store *store, int64_t cache_ms) MUST_USE;
void dkim_free(struct dkim *dkim);

/* ---- signing ---- */

struct dkim_signer *dkim_signer_new(void) MUST_USE;
/* Header, empty line, body, in pieces of any size. A CR or LF that stands alone counts as the CR LF
 * that is sent for it (crlf.h). */
void dkim_signer_feed(struct dkim_signer *s, struct slice bytes);
/* Appends one DKIM-Signature field, folded and with its CR LF, for each active key of the domain
 * (A-labels, lower case). The signer is used up. How many; 0: the domain has no active key;
 * -ERR_TOOBIG: its header is above DKIM_HEADER_MAX (send it unsigned); -ERR_UNAVAILABLE: keys
 * cannot be read; -ERR_INTERNAL: a stored key is damaged. Nothing is appended on an error. */
int dkim_sign(struct dkim *dkim, struct dkim_signer *s, const char *domain, struct buf *out,
              struct error *err) MUST_USE;
void dkim_signer_free(struct dkim_signer *s);
/* Has the domain an active key? 1, 0, -ERR_UNAVAILABLE, -ERR_INTERNAL as above. */
int dkim_signs(struct dkim *dkim, const char *domain, struct error *err) MUST_USE;

/* ---- keys ---- */

enum dkim_algorithm { DKIM_RSA_SHA256 = 1, DKIM_ED25519_SHA256 = 2 }; /* stored */
enum dkim_status { DKIM_WAITING, DKIM_ACTIVE, DKIM_RETIRED };

struct dkim_key {
    const char *domain;   /* A-labels, lower case */
    const char *selector; /* label or labels, lower case */
    enum dkim_algorithm algorithm;
    unsigned bits;         /* of an RSA key; Ed25519: 256 */
    int64_t created_ms;    /* wall clock */
    int64_t active_ms;     /* signs from then on */
    int64_t retired_ms;    /* until then; 0: no end is set */
    struct slice private_; /* DER, PKCS #8 */
};

enum dkim_status dkim_key_status(const struct dkim_key *key, int64_t now_ms);
const char *dkim_algorithm_name(enum dkim_algorithm algorithm); /* "rsa-sha256" */
const char *dkim_status_name(enum dkim_status status);          /* "active" */

/* What to put into the DNS: appends "v=DKIM1; k=...; p=...". 0, -ERR_INTERNAL (damaged key). */
int dkim_key_record(const struct dkim_key *key, struct buf *out, struct error *err) MUST_USE;

/* A new random key in the arena, without domain, selector and times. bits: 1024 to 4096, RSA only.
 * 0, -ERR_INVALID (bits). */
int dkim_key_make(enum dkim_algorithm algorithm, unsigned bits, struct arena *a,
                  struct dkim_key *ret, struct error *err) MUST_USE;
/* A private key from PEM or DER, not encrypted; sets algorithm, bits, private_. -ERR_INVALID. */
int dkim_key_read(struct slice text, struct arena *a, struct dkim_key *ret,
                  struct error *err) MUST_USE;

/* -ERR_EXISTS: the domain has this selector; -ERR_LIMIT: it has DKIM_KEYS_MAX keys; -ERR_INVALID:
 * the selector or domain is none; -ERR_UNAVAILABLE, -ERR_UNKNOWN_OUTCOME. */
int dkim_key_add(struct dkim *dkim, const struct dkim_key *key, struct error *err) MUST_USE;
/* All keys of the domain, or of all domains (NULL), by domain and selector; strings in the arena.
 */
int dkim_key_list(struct dkim *dkim, const char *domain, struct arena *a, struct dkim_key **ret,
                  size_t *ret_n, struct error *err) MUST_USE;
/* -ERR_NOTFOUND, -ERR_CONFLICT (changed meanwhile), -ERR_UNAVAILABLE, -ERR_UNKNOWN_OUTCOME. */
int dkim_key_retire(struct dkim *dkim, const char *domain, const char *selector, int64_t when_ms,
                    struct error *err) MUST_USE;
int dkim_key_delete(struct dkim *dkim, const char *domain, const char *selector,
                    struct error *err) MUST_USE;

/* The stored value, for the fuzz target too. Decode: -ERR_INVALID; slices point into `value`. */
void dkim_value_encode(const struct dkim_key *key, struct buf *out);
int dkim_value_decode(struct slice value, struct dkim_key *ret) MUST_USE;
