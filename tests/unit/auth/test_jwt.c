/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/jwt.h"

#include <openssl/hmac.h>

#include "tests/unit/auth/token.h"

#define ALL (JWT_RS256 | JWT_ES256 | JWT_EDDSA)

static const char *const algs[] = {"RS256", "ES256", "EdDSA"};
static EVP_PKEY *keys[3];
static struct buf set_text;
static struct jwks *set;
static struct error err;

static void setup(void)
{
    set_text = buf_make(65536);
    buf_add_str(&set_text, "{\"keys\":[");
    for (size_t i = 0; i < 3; i++) {
        keys[i] = make_test_key(algs[i]);
        add_jwk(&set_text, keys[i], algs[i], algs[i], ",\"use\":\"sig\"");
        buf_add_str(&set_text, i < 2 ? "," : "]}");
    }
    cr_assert(jwks_parse(buf_slice(&set_text), &set, &err) == 0, "%s", err.text);
    cr_assert_eq(jwks_count(set), 3);
}

static void teardown(void)
{
    for (size_t i = 0; i < 3; i++)
        EVP_PKEY_free(keys[i]);
    jwks_free(set);
    buf_done(&set_text);
}

TestSuite(jwt, .init = setup, .fini = teardown, .timeout = 60);

/* What parsing, or else verifying, says. */
static int verdict(struct slice token, unsigned allowed)
{
    struct jwt t;
    int r;

    err = (struct error){0};
    r = jwt_parse(token, &t, &err);
    if (r < 0)
        return r;
    r = jwt_verify(&t, set, allowed, &err);
    jwt_done(&t);
    return r;
}

static int verdict_of(size_t key, const char *header)
{
    CLEANUP(buf_done) struct buf token = buf_make(10000);

    make_token(&token, keys[key], algs[key], header, "{\"iss\":\"x\"}");
    return verdict(buf_slice(&token), ALL);
}

Test(jwt, each_algorithm_with_and_without_a_key_name)
{
    for (size_t i = 0; i < 3; i++) {
        CLEANUP_FREE char *named = mem_printf("{\"alg\":\"%s\",\"kid\":\"%s\"}", algs[i], algs[i]);
        CLEANUP_FREE char *unnamed = mem_printf("{\"typ\":\"JWT\",\"alg\":\"%s\"}", algs[i]);
        CLEANUP_FREE char *other = mem_printf("{\"alg\":\"%s\",\"kid\":\"z\"}", algs[i]);

        cr_expect(verdict_of(i, named) == 0, "%s: %s", algs[i], err.text);
        cr_expect(verdict_of(i, unnamed) == 0, "%s: %s", algs[i], err.text);
        cr_expect(verdict_of(i, other) == -ERR_NOTFOUND, "%s: %s", algs[i], err.text);
    }
}

Test(jwt, only_what_is_allowed)
{
    CLEANUP(buf_done) struct buf token = buf_make(10000);

    make_token(&token, keys[0], "RS256", "{\"alg\":\"RS256\"}", "{}");
    cr_expect(verdict(buf_slice(&token), JWT_RS256) == 0);
    cr_expect(verdict(buf_slice(&token), JWT_ES256 | JWT_EDDSA) == -ERR_AUTH);
}

/* RFC 8725 section 2.1, and what has been tried elsewhere. */
Test(jwt, a_token_does_not_choose_how_it_is_checked)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"kid\":\"RS256\"}",
        "{\"alg\":\"rs256\"}",
        "{\"alg\":\"PS256\"}",
        "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"RS256\",\"alg\":\"RS256\"}",
        "{\"alg\":1}",
        "{}",
        "[]",
        "\"RS256\"",
        "{\"alg\":\"RS256\"",
        "{\"alg\":\"RS256\\u0000\"}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    };
    static const char *const confused[] = {
        "{\"alg\":\"ES256\",\"kid\":\"RS256\"}",
        "{\"alg\":\"ES256\"}",
        "{\"alg\":\"EdDSA\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        cr_expect(verdict_of(0, headers[i]) == -ERR_INVALID, "%s", headers[i]);
    for (size_t i = 0; i < ARRAY_LEN(confused); i++)
        cr_expect(verdict_of(0, confused[i]) == (i ? -ERR_AUTH : -ERR_NOTFOUND), "%s", confused[i]);
}

Test(jwt, no_byte_of_a_token_may_change)
{
    for (size_t k = 0; k < 3; k++) {
        CLEANUP(buf_done) struct buf token = buf_make(10000);
        CLEANUP_FREE char *header = mem_printf("{\"alg\":\"%s\"}", algs[k]);

        make_token(&token, keys[k], algs[k], header, "{\"iss\":\"https://id.example.org\"}");
        cr_assert(verdict(buf_slice(&token), ALL) == 0);
        for (size_t i = 0; i < token.n; i++) {
            uint8_t was = token.p[i];

            token.p[i] = was == 'A' ? 'B' : 'A';
            cr_expect(verdict(buf_slice(&token), ALL) < 0, "%s: byte %zu", algs[k], i);
            token.p[i] = was;
            cr_expect(verdict(slice_of(token.p, i), ALL) < 0, "%s: cut at %zu", algs[k], i);
        }
        buf_add_str(&token, ".");
        cr_expect(verdict(buf_slice(&token), ALL) == -ERR_INVALID);
    }
}

Test(jwt, empty_and_zero_signatures_are_none)
{
    CLEANUP(buf_done) struct buf token = buf_make(10000);
    static const uint8_t zero[64];

    for (size_t k = 0; k < 3; k++)
        for (int all = 0; all < 2; all++) {
            CLEANUP_FREE char *header = mem_printf("{\"alg\":\"%s\"}", algs[k]);

            buf_reset(&token, 10000);
            add_base64url(&token, slice_str(header));
            buf_add_str(&token, ".e30.");
            add_base64url(&token, slice_of(zero, all ? sizeof zero : 0));
            cr_expect(verdict(buf_slice(&token), ALL) == -ERR_AUTH, "%s", algs[k]);
        }
}

Test(jwt, too_long_is_a_limit)
{
    CLEANUP(buf_done) struct buf token = buf_make(JWT_MAX + 10);

    while (token.n <= JWT_MAX)
        buf_add_str(&token, "e.e.");
    cr_expect(verdict(buf_slice(&token), ALL) == -ERR_LIMIT);
}

Test(jwt, key_sets_that_are_none_and_keys_that_are_left_out)
{
    static const char *const none[] = {"", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[]", "nonsense"};
    static const char *const left_out[] = {
        "{}",
        "7",
        "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", /* far too short */
        "{\"kty\":\"RSA\",\"n\":\"%%\",\"e\":\"AQAB\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}", /* not on the curve */
        "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":"
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}",
    };
    CLEANUP(buf_done) struct buf text = buf_make(65536);
    struct jwks *got = NULL;

    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        cr_expect(jwks_parse(slice_str(none[i]), &got, &err) == -ERR_INVALID, "%s", none[i]);
    for (size_t i = 0; i < ARRAY_LEN(left_out); i++) {
        buf_reset(&text, 65536);
        buf_printf(&text, "{\"keys\":[%s,", left_out[i]);
        add_jwk(&text, keys[2], "EdDSA", "good", ",\"alg\":\"EdDSA\"");
        buf_add_str(&text, ",");
        add_jwk(&text, keys[2], "EdDSA", "enc", ",\"use\":\"enc\"");
        buf_add_str(&text, ",");
        add_jwk(&text, keys[0], "RS256", "ps", ",\"alg\":\"PS256\"");
        buf_add_str(&text, "]}");
        cr_assert(jwks_parse(buf_slice(&text), &got, &err) == 0, "%s", left_out[i]);
        cr_expect_eq(jwks_count(got), 1, "%s", left_out[i]);
        jwks_free(got);
    }
}

Test(jwt, key_sets_are_bounded)
{
    CLEANUP(buf_done) struct buf text = buf_make(JWKS_MAX + 100);
    struct jwks *got = NULL;

    buf_add_str(&text, "{\"keys\":[");
    for (int i = 0; i < 2 * JWT_KEYS_MAX; i++) {
        if (i)
            buf_add_str(&text, ",");
        add_jwk(&text, keys[2], "EdDSA", "k", "");
    }
    buf_add_str(&text, "]}");
    cr_assert(jwks_parse(buf_slice(&text), &got, &err) == 0);
    cr_expect_eq(jwks_count(got), JWT_KEYS_MAX);
    jwks_free(got);
    while (!buf_full(&text))
        buf_add_byte(&text, ' ');
    cr_expect(jwks_parse(buf_slice(&text), &got, &err) == -ERR_LIMIT);
}

Test(jwt, claims)
{
    static const struct {
        const char *claims;
        int signed_one, introspected;
    } cases[] = {
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1000}", 0, 0},
        {"{\"iss\":\"i\",\"aud\":[\"b\",\"a\"],\"exp\":1000.5}", 0, 0},
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":941}", 0, 0}, /* the leeway is 60 */
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":940}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":2000,\"nbf\":1060}", 0, 0},
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":2000,\"nbf\":1061}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"aud\":\"a\"}", -ERR_AUTH, 0},
        {"{\"aud\":\"a\",\"exp\":1000}", -ERR_AUTH, 0},
        {"{\"iss\":\"j\",\"aud\":\"a\",\"exp\":1000}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":[\"i\"],\"aud\":\"a\",\"exp\":1000}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"aud\":\"b\",\"exp\":1000}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"aud\":[\"ab\",1],\"exp\":1000}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"exp\":1000}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":\"1000\"}", -ERR_AUTH, -ERR_AUTH},
        {"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1000,\"nbf\":\"0\"}", -ERR_AUTH, -ERR_AUTH},
    };
    struct jwt_rules rules = {
        .issuer = "i", .audience = "a", .scope = "", .now_s = 1000, .leeway_s = 60};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *claims = jwt_load_json(slice_str(cases[i].claims));

        cr_assert_not_null(claims, "%s", cases[i].claims);
        rules.introspected = false;
        cr_expect(jwt_check_claims(claims, &rules, &err) == cases[i].signed_one, "%s",
                  cases[i].claims);
        rules.introspected = true;
        cr_expect(jwt_check_claims(claims, &rules, &err) == cases[i].introspected, "%s",
                  cases[i].claims);
        json_decref(claims);
    }
}

Test(jwt, scopes)
{
    static const struct {
        const char *claims;
        int want;
    } cases[] = {
        {"{\"iss\":\"i\",\"exp\":9,\"scope\":\"mail\"}", 0},
        {"{\"iss\":\"i\",\"exp\":9,\"scope\":\"a  mail b\"}", 0},
        {"{\"iss\":\"i\",\"exp\":9,\"scp\":[\"a\",\"mail\"]}", 0},
        {"{\"iss\":\"i\",\"exp\":9,\"scope\":\"mails amail ma il\"}", -ERR_NOPERM},
        {"{\"iss\":\"i\",\"exp\":9,\"scope\":\"\"}", -ERR_NOPERM},
        {"{\"iss\":\"i\",\"exp\":9,\"scope\":7}", -ERR_NOPERM},
        {"{\"iss\":\"i\",\"exp\":9}", -ERR_NOPERM},
        {"{\"iss\":\"j\",\"exp\":9,\"scope\":\"mail\"}", -ERR_AUTH},
    };
    const struct jwt_rules rules = {.issuer = "i", .audience = "", .scope = "mail", .now_s = 1};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *claims = jwt_load_json(slice_str(cases[i].claims));

        cr_expect(jwt_check_claims(claims, &rules, &err) == cases[i].want, "%s", cases[i].claims);
        json_decref(claims);
    }
}

Test(jwt, an_email_that_is_not_verified_is_none)
{
    static const struct {
        const char *claims, *want;
    } cases[] = {{"{\"email\":\"a@b.org\"}", "a@b.org"},
                 {"{\"email\":\"a@b.org\",\"email_verified\":true}", "a@b.org"},
                 {"{\"email\":\"a@b.org\",\"email_verified\":false}", ""},
                 {"{\"email\":1}", ""},
                 {"{}", ""}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *claims = jwt_load_json(slice_str(cases[i].claims));

        cr_expect_str_eq(jwt_claim(claims, "email"), cases[i].want);
        json_decref(claims);
    }
}

Test(jwt, names_of_algorithms)
{
    unsigned bits = 0;

    cr_expect(jwt_algorithms_parse(" RS256  EdDSA ", &bits) && bits == (JWT_RS256 | JWT_EDDSA));
    cr_expect(!jwt_algorithms_parse("", &bits) && !jwt_algorithms_parse("none", &bits) &&
              !jwt_algorithms_parse("RS256,ES256", &bits) && !jwt_algorithms_parse("HS256", &bits));
}
