/* SPDX-License-Identifier: MPL-2.0 */
/* jwt: JSON Web Tokens (RFC 7519) signed by JWS (RFC 7515, 7518, 8037), checked against a JSON Web
 * Key Set (RFC 7517).
 *
 * Three algorithms: RS256, ES256, EdDSA with Ed25519. Each fits one sort of key, and a key is used
 * for nothing else, so a token cannot choose how it is checked (RFC 8725): "none" and HMAC, for
 * which a public key would be the secret, do not exist here. Extensions that must be understood
 * ("crit") are refused.
 *
 * Tokens come from clients who have not logged in, key sets from servers that the administrator
 * named: both are bounded in size, depth and number. Nothing here blocks or keeps state.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define JWT_MAX      12288               /* bytes of a token */
#define JWKS_MAX     ((size_t)256 << 10) /* bytes of a key set */
#define JWT_KEYS_MAX 100                 /* keys taken from a set; further ones are left out */
#define JWT_KID_MAX  256                 /* bytes */

/* Bits. */
enum jwt_algorithm { JWT_RS256 = 1, JWT_ES256 = 2, JWT_EDDSA = 4 };

/* "RS256 ES256 EdDSA" to bits. False: another word is in it, or nothing. */
bool jwt_algorithms_parse(const char *text, unsigned *ret);

struct jwks;

/* Keys of other sorts, for other uses, or too short are left out. 0; -ERR_INVALID it is no key set;
 * -ERR_LIMIT it is too long. */
int jwks_parse(struct slice json, struct jwks **ret, struct error *err) MUST_USE;
void jwks_free(struct jwks *keys); /* NULL is fine */
size_t jwks_count(const struct jwks *keys);

/* A token taken apart; nothing in it may be believed before jwt_verify. */
struct jwt {
    enum jwt_algorithm algorithm;
    char kid[JWT_KID_MAX + 1]; /* "" if none */
    struct slice signed_part;  /* into the token given */
    struct buf signature;
    json_t *claims; /* an object */
};

/* Has it the form of a signed token (three parts)? A cheap look, to tell it from an opaque one. */
bool jwt_looks_like(struct slice token);
/* 0, then jwt_done; -ERR_INVALID it is none, or of an algorithm that is not here; -ERR_LIMIT. */
int jwt_parse(struct slice token, struct jwt *ret, struct error *err) MUST_USE;
void jwt_done(struct jwt *t);
/* 0 signed by one of the keys, with one of these algorithms; -ERR_NOTFOUND no key has its kid (or,
 * without one, its algorithm): the set may be old; -ERR_AUTH the signature is wrong, or the
 * algorithm not allowed. */
int jwt_verify(const struct jwt *t, const struct jwks *keys, unsigned algorithms,
               struct error *err) MUST_USE;

/* What the claims of a token, or the answer of an introspection (RFC 7662), must say. */
struct jwt_rules {
    const char *issuer;   /* "iss" */
    const char *audience; /* "aud", or one of it; "": not looked at */
    const char *scope;    /* one word of "scope" or "scp"; "": not looked at */
    bool introspected;    /* "iss" and "exp" may be missing: the server says whether it is valid */
    int64_t now_s;        /* wall clock */
    int64_t leeway_s;     /* of clocks, for "exp" and "nbf" */
};
/* 0; -ERR_AUTH with what is wrong; -ERR_NOPERM only the scope is missing. */
int jwt_check_claims(const json_t *claims, const struct jwt_rules *rules,
                     struct error *err) MUST_USE;
/* The claim as text, "" if it is not there or no text. An "email" that the issuer says is not
 * verified is none. Belongs to claims. */
const char *jwt_claim(const json_t *claims, const char *name);

/* JSON of a bounded depth. NULL: it is not well-formed, or nested too deep. */
json_t *jwt_load_json(struct slice text) MUST_USE;
