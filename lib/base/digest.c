/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/mem.h"

/* EVP_sha256() is looked up by name at each EVP_DigestInit; a fetched one is not. */
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_MD *fetched_sha256;
static uint8_t table_key[16];

static void fetch(void)
{
    fetched_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!fetched_sha256)
        abort();
    random_bytes(table_key, sizeof table_key);
}

static const EVP_MD *sha256(void)
{
    pthread_once(&fetch_once, fetch);
    return fetched_sha256;
}

struct digest_ctx *digest_new(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx || !EVP_DigestInit_ex(ctx, sha256(), NULL))
        abort();
    return (struct digest_ctx *)ctx;
}

void digest_add(struct digest_ctx *d, struct slice bytes)
{
    if (bytes.n && !EVP_DigestUpdate((EVP_MD_CTX *)d, bytes.p, bytes.n))
        abort();
}

void digest_end(struct digest_ctx *d, uint8_t ret_hash[static SHA256_SIZE])
{
    if (!EVP_DigestFinal_ex((EVP_MD_CTX *)d, ret_hash, NULL))
        abort();
    digest_free(d);
}

void digest_free(struct digest_ctx *d)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)d);
}

void digest_sha256(struct slice bytes, uint8_t ret_hash[static SHA256_SIZE])
{
    if (!EVP_Digest(bytes.n ? bytes.p : (const uint8_t *)"", bytes.n, ret_hash, NULL, sha256(),
                    NULL))
        abort();
}

void digest_hmac_sha256(struct slice key, struct slice bytes, uint8_t ret[static SHA256_SIZE])
{
    if (!HMAC(sha256(), key.n ? key.p : (const uint8_t *)"", (int)key.n, bytes.p, bytes.n, ret,
              NULL))
        abort();
}

void random_bytes(void *p, size_t n)
{
    if (n && RAND_bytes(p, (int)n) != 1)
        abort();
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof v);
    return v;
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static inline uint64_t load_le(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). */
uint64_t hash_keyed(struct slice bytes)
{
    uint64_t k0, k1, m;
    struct sip s;
    size_t i;

    pthread_once(&fetch_once, fetch);
    k0 = load_le(table_key, 8);
    k1 = load_le(table_key + 8, 8);
    s = (struct sip){k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                     k1 ^ 0x7465646279746573};
    for (i = 0; i + 8 <= bytes.n; i += 8) {
        m = load_le(bytes.p + i, 8);
        s.v3 ^= m;
        sip_round(&s);
        sip_round(&s);
        s.v0 ^= m;
    }
    m = (uint64_t)bytes.n << 56 | load_le(bytes.p + i, bytes.n - i);
    s.v3 ^= m;
    sip_round(&s);
    sip_round(&s);
    s.v0 ^= m;
    s.v2 ^= 0xff;
    for (int r = 0; r < 4; r++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

bool secret_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

void secret_wipe(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}
