/* SPDX-License-Identifier: MPL-2.0 */
/* An issuer for tests: keys, their set in JSON, tokens signed by them, or badly. */
#pragma once

#include <criterion/criterion.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/bytes.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"

static inline void add_base64url(struct buf *out, struct slice bytes)
{
    CLEANUP(buf_done) struct buf text = buf_make(65536);

    base64_encode(&text, bytes);
    for (size_t i = 0; i < text.n && text.p[i] != '='; i++)
        buf_add_byte(out, text.p[i] == '+' ? '-' : text.p[i] == '/' ? '_' : text.p[i]);
}

static inline EVP_PKEY *make_test_key(const char *alg)
{
    EVP_PKEY *key = strcmp(alg, "RS256") == 0   ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                    : strcmp(alg, "ES256") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
                                                : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    cr_assert_not_null(key);
    return key;
}

static inline void add_number(struct buf *out, const char *name, EVP_PKEY *key, const char *param)
{
    uint8_t bytes[600];
    BIGNUM *n = NULL;
    int size;

    cr_assert_eq(EVP_PKEY_get_bn_param(key, param, &n), 1);
    size = strcmp(name, "x") && strcmp(name, "y") ? BN_num_bytes(n) : 32;
    cr_assert(BN_bn2binpad(n, bytes, size) == size);
    BN_free(n);
    buf_printf(out, ",\"%s\":\"", name);
    add_base64url(out, slice_of(bytes, (size_t)size));
    buf_add_byte(out, '"');
}

/* {"kid":...} of the public part; `more` (", ..." or "") goes into it. */
static inline void add_jwk(struct buf *out, EVP_PKEY *key, const char *alg, const char *kid,
                           const char *more)
{
    uint8_t raw[32];
    size_t n = sizeof raw;

    buf_printf(out, "{\"kid\":\"%s\"%s", kid, more);
    if (strcmp(alg, "RS256") == 0) {
        buf_add_str(out, ",\"kty\":\"RSA\"");
        add_number(out, "n", key, OSSL_PKEY_PARAM_RSA_N);
        add_number(out, "e", key, OSSL_PKEY_PARAM_RSA_E);
    } else if (strcmp(alg, "ES256") == 0) {
        buf_add_str(out, ",\"kty\":\"EC\",\"crv\":\"P-256\"");
        add_number(out, "x", key, OSSL_PKEY_PARAM_EC_PUB_X);
        add_number(out, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y);
    } else {
        cr_assert_eq(EVP_PKEY_get_raw_public_key(key, raw, &n), 1);
        buf_add_str(out, ",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
        add_base64url(out, slice_of(raw, n));
        buf_add_byte(out, '"');
    }
    buf_add_byte(out, '}');
}

static inline void sign_token(struct buf *token, EVP_PKEY *key, const char *alg)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint8_t sig[600], raw[64];
    const uint8_t *p = sig;
    size_t n = sizeof sig;
    bool ed = strcmp(alg, "EdDSA") == 0;

    cr_assert_eq(EVP_DigestSignInit(c, NULL, ed ? NULL : EVP_sha256(), NULL, key), 1);
    cr_assert_eq(EVP_DigestSign(c, sig, &n, token->p, token->n), 1);
    EVP_MD_CTX_free(c);
    buf_add_byte(token, '.');
    if (strcmp(alg, "ES256") == 0) {
        ECDSA_SIG *both = d2i_ECDSA_SIG(NULL, &p, (long)n);

        cr_assert_not_null(both);
        BN_bn2binpad(ECDSA_SIG_get0_r(both), raw, 32);
        BN_bn2binpad(ECDSA_SIG_get0_s(both), raw + 32, 32);
        ECDSA_SIG_free(both);
        add_base64url(token, slice_of(raw, 64));
    } else {
        add_base64url(token, slice_of(sig, n));
    }
}

/* header and claims as JSON; signed as `alg` says, whatever the header says. */
static inline void make_token(struct buf *out, EVP_PKEY *key, const char *alg, const char *header,
                              const char *claims)
{
    buf_reset(out, out->max);
    add_base64url(out, slice_str(header));
    buf_add_byte(out, '.');
    add_base64url(out, slice_str(claims));
    sign_token(out, key, alg);
}
