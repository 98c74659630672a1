/* SPDX-License-Identifier: MPL-2.0 */
/* The first byte says what the rest is: a token, checked by a fixed key set; a key set, by which a
 * fixed token is checked; or claims. Nothing may be signed that we have not signed: the keys were
 * thrown away, and the tokens that they have signed are in the seeds. */
#include <stdlib.h>
#include <string.h>

#include "lib/auth/jwt.h"
#include "lib/base/mem.h"
#include "tests/fuzz/jwt_keys.h"

#define ALL (JWT_RS256 | JWT_ES256 | JWT_EDDSA)

static const struct jwt_rules rules = {.issuer = "https://id.example.org",
                                       .audience = "mail",
                                       .scope = "mail",
                                       .now_s = 1700000000,
                                       .leeway_s = 60};

static void check_claims(const json_t *claims)
{
    struct jwt_rules introspected = rules;
    struct error err;

    introspected.introspected = true;
    /* What a signed token must say is more than what an issuer who was asked must. */
    if (jwt_check_claims(claims, &rules, &err) == 0 &&
        jwt_check_claims(claims, &introspected, &err) < 0)
        abort();
    if (strlen(jwt_claim(claims, "email")) > JWT_MAX)
        abort();
}

/* What stands between the dots. */
static struct slice claims_part(struct slice token)
{
    struct slice rest = slice_skip(token, (size_t)slice_find(token, '.') + 1);

    return slice_sub(rest, 0, (size_t)slice_find(rest, '.'));
}

static void try_token(struct slice token, const struct jwks *keys, bool ours)
{
    struct error err;
    struct jwt t;
    int r = jwt_parse(token, &t, &err);

    if (r < 0)
        return;
    r = jwt_verify(&t, keys, ALL, &err);
    if (r == 0 && !ours && !slice_eq(claims_part(token), claims_part(S(JWT_TOKEN))))
        abort();
    if (r == 0 && jwt_verify(&t, keys, ALL & ~(unsigned)t.algorithm, &err) == 0)
        abort();
    check_claims(t.claims);
    jwt_done(&t);
}

static void try_keys(struct slice text)
{
    struct jwks *keys;
    struct error err;

    if (jwks_parse(text, &keys, &err) < 0)
        return;
    if (jwks_count(keys) > JWT_KEYS_MAX)
        abort();
    try_token(S(JWT_TOKEN), keys, true);
    jwks_free(keys);
}

static void try_claims(struct slice text)
{
    json_t *claims = jwt_load_json(text);

    if (claims)
        check_claims(claims);
    json_decref(claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwks *keys; /* one for the whole run */
    struct slice rest;

    if (size < 1)
        return 0;
    if (!keys && jwks_parse(S(JWT_KEYS), &keys, NULL) < 0)
        abort();
    rest = slice_of(data + 1, size - 1);
    if (data[0] % 3 == 0)
        try_token(rest, keys, false);
    else if (data[0] % 3 == 1)
        try_keys(rest);
    else
        try_claims(rest);
    return 0;
}
