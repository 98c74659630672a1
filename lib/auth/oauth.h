/* SPDX-License-Identifier: MPL-2.0 */
/* oauth: is this bearer token (RFC 6750) good, and whose is it?
 *
 * Each issuer that the administrator named says how its tokens are checked: signed ones (JWT) here,
 * with its key set from a file or an https URL, or any by asking it (introspection, RFC 7662). A
 * signed token is for the issuer that it names; an opaque one is asked of each issuer that can be
 * asked, in their order. Tokens that no issuer knows cost no request beyond that.
 *
 * Key sets are read at the first use, again when they are old, and when a token names a key that is
 * not in them; but never sooner after the last try than key_floor_ms, so tokens with made-up key
 * names cause no flood. While a set cannot be read, the last one stays in use. Answers of
 * introspections are remembered for cache_ms, never beyond a token's end, under a keyed hash of the
 * token; a token that is taken back at its issuer may let in for so long.
 *
 * Requests are made on the caller's thread, a worker; OAUTH_REQUESTS at once, each of timeout_ms;
 * more callers than can be served in some seconds are turned away with -ERR_UNAVAILABLE.
 *
 * Threads: oauth_check on any.
 */
#pragma once

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define OAUTH_REQUESTS 8

struct oauth_issuer {
    const char *issuer;   /* "iss", as "https://id.example.org" */
    const char *audience; /* "aud" that must be among a token's; "": any, for introspection only */
    const char *keys;     /* path or URL of a JSON Web Key Set; "": no signed tokens */
    unsigned algorithms;  /* bits of enum jwt_algorithm */
    const char *introspection;             /* URL; "": is not asked */
    const char *client_id, *client_secret; /* ours there */
    const char *cafile;                    /* of its https; "": the system's */
    const char *claim;                     /* that holds the login: "email" */
    const char *scope;                     /* that a token must have; "": none */
    int64_t leeway_ms;                     /* of its clock */
};

struct oauth_options {
    const struct oauth_issuer *issuers;
    size_t issuers_n;
    int64_t timeout_ms;   /* of a request */
    int64_t key_age_ms;   /* then a key set is read again */
    int64_t key_floor_ms; /* but no sooner than this after the last try */
    int64_t cache_ms;     /* 0: every introspection is asked */
};

struct oauth;

/* 0; -ERR_INVALID an issuer that has neither keys nor introspection, http where https is wanted,
 * ... */
int oauth_check_options(const struct oauth_options *options, struct error *err) MUST_USE;
/* All is copied. Returns as oauth_check_options. */
int oauth_new(const struct oauth_options *options, struct oauth **ret, struct error *err) MUST_USE;
void oauth_free(struct oauth *o); /* NULL is fine */

/* 0: good, *login (appended) is what its claim says, as it is. -ERR_AUTH it is not; -ERR_NOPERM it
 * is, but has not the scope; -ERR_LIMIT it is too long; -ERR_UNAVAILABLE whom we had to ask does
 * not answer. Never tells the token in err. */
int oauth_check(struct oauth *o, struct slice token, struct buf *login, struct error *err) MUST_USE;

/* What a client is told who has none: of the first issuer. "" if there is none. */
const char *oauth_scope(const struct oauth *o);
const char *oauth_issuer_url(const struct oauth *o); /* only if it is https */

/* For /metrics and logs. */
struct oauth_counters {
    uint64_t accepted, refused;
    uint64_t requests; /* for key sets and introspection */
    uint64_t failed;   /* requests without a usable answer */
    uint64_t cached;   /* introspections that were remembered */
};
struct oauth_counters oauth_read_counters(const struct oauth *o);
