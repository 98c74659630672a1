/* SPDX-License-Identifier: MPL-2.0 */
/* To add an algorithm: a bit in jwt.h, a row in `algorithms`, and, if its keys are of a new sort, a
 * row in `sorts`. */
#include "lib/auth/jwt.h"

#include <math.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define DEPTH_MAX     16
#define RSA_BITS_MIN  2048
#define RSA_BITS_MAX  8192
#define NUMBER_MAX    1100 /* bytes of a key's number */
#define EC_SIZE       32   /* bytes of a number of P-256 */
#define ED25519_SIZE  32
#define SIGNATURE_MAX 1024
#define HEADER_MAX    4096
#define UNNAMED_TRIES 8 /* keys tried for a token that names none */

/* ---- JSON ---- */

/* jansson recurses; the stack is ours. Brackets within strings do not count. */
static bool is_shallow(struct slice text)
{
    unsigned depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];

        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']') && depth)
            depth--;
        if (depth > DEPTH_MAX)
            return false;
    }
    return true;
}

json_t *jwt_load_json(struct slice text)
{
    if (!text.n || !is_shallow(text))
        return NULL;
    return json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
}

/* NULL: not there, or no text. */
static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- keys ---- */

struct key {
    char kid[JWT_KID_MAX + 1];
    enum jwt_algorithm algorithm;
    EVP_PKEY *pkey;
};

struct jwks {
    size_t n;
    struct key keys[JWT_KEYS_MAX];
};

static void bignum_free(BIGNUM **n)
{
    BN_free(*n);
}

static void builder_free(OSSL_PARAM_BLD **b)
{
    OSSL_PARAM_BLD_free(*b);
}

static void params_free(OSSL_PARAM **p)
{
    OSSL_PARAM_free(*p);
}

static void context_free(EVP_PKEY_CTX **c)
{
    EVP_PKEY_CTX_free(*c);
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder)
{
    CLEANUP(params_free) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    CLEANUP(context_free) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (!params || !context || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return pkey;
}

/* A member in base64url. */
static bool read_bytes(const json_t *jwk, const char *name, struct buf *out)
{
    const char *text = text_of(jwk, name);

    return text && base64url_decode(out, slice_str(text)) == 0 && out->n > 0;
}

static EVP_PKEY *read_rsa(const json_t *jwk)
{
    CLEANUP(buf_done) struct buf n = buf_make(NUMBER_MAX), e = buf_make(16);
    CLEANUP(bignum_free) BIGNUM *modulus = NULL, *exponent = NULL;
    CLEANUP(builder_free) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();

    if (!builder || !read_bytes(jwk, "n", &n) || !read_bytes(jwk, "e", &e))
        return NULL;
    modulus = BN_bin2bn(n.p, (int)n.n, NULL);
    exponent = BN_bin2bn(e.p, (int)e.n, NULL);
    if (!modulus || !exponent || BN_num_bits(modulus) < RSA_BITS_MIN ||
        BN_num_bits(modulus) > RSA_BITS_MAX || BN_is_one(exponent) || !BN_is_odd(exponent) ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) != 1 ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) != 1)
        return NULL;
    return make_key("RSA", builder);
}

static EVP_PKEY *read_ec(const json_t *jwk)
{
    CLEANUP(buf_done) struct buf x = buf_make(EC_SIZE), y = buf_make(EC_SIZE);
    CLEANUP(builder_free) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    uint8_t point[1 + 2 * EC_SIZE] = {4}; /* not compressed */

    if (!builder || !read_bytes(jwk, "x", &x) || !read_bytes(jwk, "y", &y) || x.n != EC_SIZE ||
        y.n != EC_SIZE)
        return NULL;
    memcpy(point + 1, x.p, EC_SIZE);
    memcpy(point + 1 + EC_SIZE, y.p, EC_SIZE);
    if (OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) !=
            1)
        return NULL;
    return make_key("EC", builder);
}

static EVP_PKEY *read_okp(const json_t *jwk)
{
    CLEANUP(buf_done) struct buf x = buf_make(ED25519_SIZE);

    if (!read_bytes(jwk, "x", &x) || x.n != ED25519_SIZE)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.p, x.n);
}

static const struct {
    const char *kty, *crv; /* crv NULL: there is none */
    enum jwt_algorithm algorithm;
    EVP_PKEY *(*read)(const json_t *jwk);
} sorts[] = {{"RSA", NULL, JWT_RS256, read_rsa},
             {"EC", "P-256", JWT_ES256, read_ec},
             {"OKP", "Ed25519", JWT_EDDSA, read_okp}};

static const struct {
    const char *name;
    enum jwt_algorithm algorithm;
} algorithms[] = {{"RS256", JWT_RS256}, {"ES256", JWT_ES256}, {"EdDSA", JWT_EDDSA}};

static const char *algorithm_name(enum jwt_algorithm a)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (algorithms[i].algorithm == a)
            return algorithms[i].name;
    return "";
}

bool jwt_algorithms_parse(const char *text, unsigned *ret)
{
    unsigned bits = 0;
    size_t i;

    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        size_t n = strcspn(text, " ");

        for (i = 0; i < ARRAY_LEN(algorithms); i++)
            if (strlen(algorithms[i].name) == n && strncmp(text, algorithms[i].name, n) == 0)
                break;
        if (i == ARRAY_LEN(algorithms))
            return false;
        bits |= algorithms[i].algorithm;
        text += n;
    }
    *ret = bits;
    return bits != 0;
}

/* May it check signatures of this algorithm? RFC 7517 section 4. */
static bool is_for(const json_t *jwk, enum jwt_algorithm algorithm)
{
    const char *use = text_of(jwk, "use"), *alg = text_of(jwk, "alg");

    return (!use || strcmp(use, "sig") == 0) &&
           (!alg || strcmp(alg, algorithm_name(algorithm)) == 0);
}

/* False: it is none of ours. */
static bool read_key(const json_t *jwk, struct key *ret)
{
    const char *kty = text_of(jwk, "kty"), *crv = text_of(jwk, "crv"), *kid = text_of(jwk, "kid");

    if (!kty || (kid && strlen(kid) > JWT_KID_MAX))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(sorts); i++) {
        if (strcmp(kty, sorts[i].kty) != 0 ||
            (sorts[i].crv && (!crv || strcmp(crv, sorts[i].crv) != 0)) ||
            !is_for(jwk, sorts[i].algorithm))
            continue;
        ret->algorithm = sorts[i].algorithm;
        ret->pkey = sorts[i].read(jwk);
        memcpy(ret->kid, kid ? kid : "", kid ? strlen(kid) + 1 : 1);
        return ret->pkey != NULL;
    }
    return false;
}

static void json_done(json_t **j)
{
    json_decref(*j);
}

int jwks_parse(struct slice json, struct jwks **ret, struct error *err)
{
    CLEANUP(json_done) json_t *root = NULL;
    const json_t *list;
    struct jwks *keys;

    if (json.n > JWKS_MAX)
        return error_set(err, ERR_LIMIT, "the key set is longer than %zu bytes", JWKS_MAX);
    root = jwt_load_json(json);
    list = json_object_get(root, "keys");
    if (!json_is_array(list))
        return error_set(err, ERR_INVALID, "it is no JSON Web Key Set");
    keys = NEW(struct jwks);
    for (size_t i = 0; i < json_array_size(list) && keys->n < JWT_KEYS_MAX; i++)
        if (read_key(json_array_get(list, i), &keys->keys[keys->n]))
            keys->n++;
    *ret = keys;
    return 0;
}

void jwks_free(struct jwks *keys)
{
    for (size_t i = 0; keys && i < keys->n; i++)
        EVP_PKEY_free(keys->keys[i].pkey);
    free(keys);
}

size_t jwks_count(const struct jwks *keys)
{
    return keys->n;
}

/* ---- tokens ---- */

/* Header, claims, signature. */
static bool cut(struct slice token, struct slice ret[static 3])
{
    ssize_t first = slice_find(token, '.'), second;
    struct slice rest;

    if (first <= 0)
        return false;
    rest = slice_skip(token, (size_t)first + 1);
    second = slice_find(rest, '.');
    if (second <= 0)
        return false;
    ret[0] = slice_sub(token, 0, (size_t)first);
    ret[1] = slice_sub(rest, 0, (size_t)second);
    ret[2] = slice_skip(rest, (size_t)second + 1);
    return slice_find(ret[2], '.') < 0;
}

bool jwt_looks_like(struct slice token)
{
    struct slice parts[3];

    /* "{" in base64url: what every header begins with. */
    return cut(token, parts) && parts[0].p[0] == 'e';
}

static int read_header(struct slice text, struct jwt *t, struct error *err)
{
    CLEANUP(buf_done) struct buf bytes = buf_make(HEADER_MAX);
    CLEANUP(json_done) json_t *header = NULL;
    const char *alg, *kid;

    if (base64url_decode(&bytes, text) == 0)
        header = jwt_load_json(buf_slice(&bytes));
    alg = text_of(header, "alg");
    kid = text_of(header, "kid");
    if (!alg || (kid && strlen(kid) > JWT_KID_MAX))
        return error_set(err, ERR_INVALID, "the token's header is malformed");
    /* RFC 7515 section 4.1.11: extensions that we would have to understand. */
    if (json_object_get(header, "crit"))
        return error_set(err, ERR_INVALID, "the token needs extensions that are not known");
    memcpy(t->kid, kid ? kid : "", kid ? strlen(kid) + 1 : 1);
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (strcmp(alg, algorithms[i].name) == 0) {
            t->algorithm = algorithms[i].algorithm;
            return 0;
        }
    return error_set(err, ERR_INVALID, "the token's algorithm is not one that is taken");
}

int jwt_parse(struct slice token, struct jwt *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf bytes = buf_make(JWT_MAX);
    struct jwt t = {.signature = buf_make(SIGNATURE_MAX)};
    struct slice parts[3];
    int r;

    if (token.n > JWT_MAX)
        return error_set(err, ERR_LIMIT, "the token is longer than %d bytes", JWT_MAX);
    if (!cut(token, parts))
        return error_set(err, ERR_INVALID, "the token has not three parts");
    r = read_header(parts[0], &t, err);
    if (r < 0)
        return r;
    if (base64url_decode(&bytes, parts[1]) == 0)
        t.claims = jwt_load_json(buf_slice(&bytes));
    if (!json_is_object(t.claims) || base64url_decode(&t.signature, parts[2]) < 0) {
        jwt_done(&t);
        return error_set(err, ERR_INVALID, "the token's claims or signature are malformed");
    }
    t.signed_part = slice_sub(token, 0, parts[0].n + 1 + parts[1].n);
    *ret = t;
    return 0;
}

void jwt_done(struct jwt *t)
{
    json_decref(t->claims);
    t->claims = NULL;
    buf_done(&t->signature);
}

/* ---- signatures ---- */

static void md_context_free(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
}

static bool verify_bytes(EVP_PKEY *pkey, const EVP_MD *md, struct slice text, struct slice sig)
{
    CLEANUP(md_context_free) EVP_MD_CTX *context = EVP_MD_CTX_new();

    return context && EVP_DigestVerifyInit(context, NULL, md, NULL, pkey) == 1 &&
           EVP_DigestVerify(context, sig.p, sig.n, text.p, text.n) == 1;
}

/* RFC 7518 section 3.4: R and S, 32 bytes each; OpenSSL wants them in DER. */
static bool verify_es256(EVP_PKEY *pkey, struct slice text, struct slice sig)
{
    ECDSA_SIG *both = ECDSA_SIG_new();
    uint8_t *der = NULL;
    BIGNUM *r, *s;
    bool ok = false;
    int n;

    if (!both || sig.n != 2 * EC_SIZE) {
        ECDSA_SIG_free(both);
        return false;
    }
    r = BN_bin2bn(sig.p, EC_SIZE, NULL);
    s = BN_bin2bn(sig.p + EC_SIZE, EC_SIZE, NULL);
    if (ECDSA_SIG_set0(both, r, s) == 1) {
        n = i2d_ECDSA_SIG(both, &der);
        ok = n > 0 && verify_bytes(pkey, EVP_sha256(), text, slice_of(der, (size_t)n));
    } else {
        BN_free(r);
        BN_free(s);
    }
    OPENSSL_free(der);
    ECDSA_SIG_free(both);
    return ok;
}

static bool verify_by(const struct key *key, const struct jwt *t)
{
    struct slice sig = buf_slice(&t->signature);

    switch (key->algorithm) {
    case JWT_RS256:
        return verify_bytes(key->pkey, EVP_sha256(), t->signed_part, sig);
    case JWT_ES256:
        return verify_es256(key->pkey, t->signed_part, sig);
    case JWT_EDDSA:
        return verify_bytes(key->pkey, NULL, t->signed_part, sig);
    }
    return false;
}

int jwt_verify(const struct jwt *t, const struct jwks *keys, unsigned allowed, struct error *err)
{
    size_t tried = 0;

    if (!(allowed & t->algorithm))
        return error_set(err, ERR_AUTH, "the token's algorithm is not allowed");
    for (size_t i = 0; i < keys->n && tried < UNNAMED_TRIES; i++) {
        const struct key *key = &keys->keys[i];

        if (key->algorithm != t->algorithm || (t->kid[0] && strcmp(t->kid, key->kid) != 0))
            continue;
        tried++;
        if (verify_by(key, t))
            return 0;
    }
    if (tried)
        return error_set(err, ERR_AUTH, "the token's signature is wrong");
    return error_set(err, ERR_NOTFOUND, "no key has signed the token");
}

/* ---- claims ---- */

/* NumericDate (RFC 7519 section 2). False: it is there and no number. */
static bool read_time(const json_t *claims, const char *name, bool *ret_there, double *ret)
{
    const json_t *j = json_object_get(claims, name);

    *ret_there = j != NULL;
    *ret = json_number_value(j);
    return !j || (json_is_number(j) && isfinite(*ret));
}

static int check_times(const json_t *claims, const struct jwt_rules *rules, struct error *err)
{
    double now = (double)rules->now_s, leeway = (double)rules->leeway_s, exp, nbf;
    bool has_exp, has_nbf;

    if (!read_time(claims, "exp", &has_exp, &exp) || !read_time(claims, "nbf", &has_nbf, &nbf) ||
        (!has_exp && !rules->introspected))
        return error_set(err, ERR_AUTH, "the token does not say when it expires");
    if (has_exp && exp + leeway <= now)
        return error_set(err, ERR_AUTH, "the token has expired");
    if (has_nbf && nbf - leeway > now)
        return error_set(err, ERR_AUTH, "the token is not valid yet");
    return 0;
}

/* A text that is this one, or a list that has it. */
static bool says(const json_t *j, const char *text)
{
    for (size_t i = 0; i < json_array_size(j); i++)
        if (json_is_string(json_array_get(j, i)) &&
            strcmp(json_string_value(json_array_get(j, i)), text) == 0)
            return true;
    return json_is_string(j) && strcmp(json_string_value(j), text) == 0;
}

/* Words with blanks between them, or a list. */
static bool has_word(const json_t *j, const char *word)
{
    const char *text = json_string_value(j);
    size_t n = strlen(word);

    for (const char *p = text; p && *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");

        if (len == n && strncmp(p, word, n) == 0)
            return true;
        p += len;
    }
    return !text && says(j, word);
}

int jwt_check_claims(const json_t *claims, const struct jwt_rules *rules, struct error *err)
{
    const json_t *iss = json_object_get(claims, "iss"), *aud = json_object_get(claims, "aud");
    int r;

    if ((iss || !rules->introspected) && !(json_is_string(iss) && says(iss, rules->issuer)))
        return error_set(err, ERR_AUTH, "the token is of another issuer");
    if (*rules->audience && !says(aud, rules->audience))
        return error_set(err, ERR_AUTH, "the token is for another audience");
    r = check_times(claims, rules, err);
    if (r < 0)
        return r;
    if (*rules->scope && !has_word(json_object_get(claims, "scope"), rules->scope) &&
        !has_word(json_object_get(claims, "scp"), rules->scope))
        return error_set(err, ERR_NOPERM, "the token has not the scope %s", rules->scope);
    return 0;
}

const char *jwt_claim(const json_t *claims, const char *name)
{
    const char *text = text_of(claims, name);

    if (strcmp(name, "email") == 0 && json_is_false(json_object_get(claims, "email_verified")))
        return "";
    return text ? text : "";
}
