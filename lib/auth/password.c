/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/password.h"

#include <argon2.h>
#include <crypt.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unicode/usprep.h>
#include <unicode/ustring.h>

#include "lib/base/bytes.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define SALT_SIZE        16
#define ARGON2_HASH_SIZE 32
/* Of hashes made elsewhere: what one login may cost us at most. */
#define ARGON2_MEMORY_MAX    4194304u /* KiB */
#define ARGON2_PASSES_MAX    100u
#define SCRAM_ITERATIONS_MAX 10000000u

/* A buffer that held a password. */
static void wipe_done(struct buf *b)
{
    if (b->p)
        secret_wipe(b->p, b->cap_now);
    buf_done(b);
}

/* ---- SASLprep ---- */

static bool plain_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return true;
}

static int utf16_to_buf(const UChar *text, int32_t n, struct buf *out)
{
    UErrorCode code = U_ZERO_ERROR;
    uint8_t *p = buf_reserve(out, (size_t)n * 3 + 1);
    int32_t bytes = 0;

    if (!p)
        return -ERR_LIMIT;
    u_strToUTF8((char *)p, n * 3 + 1, &bytes, text, n, &code);
    if (U_FAILURE(code))
        return -ERR_INVALID;
    out->n += (size_t)bytes;
    return 0;
}

static int prepare_utf16(const UChar *in, int32_t n, UChar *out, int32_t max, int32_t *ret_n,
                         struct error *err)
{
    UErrorCode code = U_ZERO_ERROR;
    UStringPrepProfile *profile = usprep_openByType(USPREP_RFC4013_SASLPREP, &code);
    UParseError where;

    if (U_FAILURE(code))
        return error_set(err, ERR_INTERNAL, "SASLprep: %s", u_errorName(code));
    *ret_n = usprep_prepare(profile, in, n, out, max, USPREP_ALLOW_UNASSIGNED, &where, &code);
    usprep_close(profile);
    if (U_FAILURE(code))
        return error_set(err, ERR_INVALID, "it contains characters that are not allowed");
    return 0;
}

int password_prepare(struct slice in, struct buf *out, struct error *err)
{
    /* NFKC makes at most 18 characters of one. */
    UChar utf16[PASSWORD_MAX], prepared[PASSWORD_MAX * 18];
    UErrorCode code = U_ZERO_ERROR;
    int32_t n = 0, prepared_n = 0;
    int r;

    if (in.n > PASSWORD_MAX)
        return error_set(err, ERR_LIMIT, "it is longer than %d bytes", PASSWORD_MAX);
    if (in.n == 0)
        return error_set(err, ERR_INVALID, "it is empty");
    if (plain_ascii(in)) {
        buf_add_slice(out, in);
        return buf_full(out) ? -ERR_LIMIT : 0;
    }
    if (!utf8_valid(in))
        return error_set(err, ERR_INVALID, "it is not UTF-8");
    u_strFromUTF8(utf16, PASSWORD_MAX, &n, (const char *)in.p, (int32_t)in.n, &code);
    if (U_FAILURE(code))
        return error_set(err, ERR_INVALID, "it is not UTF-8");
    r = prepare_utf16(utf16, n, prepared, (int32_t)ARRAY_LEN(prepared), &prepared_n, err);
    if (r == 0 && prepared_n == 0)
        r = error_set(err, ERR_INVALID, "nothing is left of it");
    if (r == 0)
        r = utf16_to_buf(prepared, prepared_n, out);
    secret_wipe(utf16, (size_t)n * sizeof *utf16);
    secret_wipe(prepared, (size_t)prepared_n * sizeof *prepared);
    return r;
}

/* ---- making ---- */

static int argon2id(struct slice prepared, const struct password_cost *cost, struct buf *out,
                    struct error *err)
{
    uint8_t salt[SALT_SIZE];
    char text[PASSWORD_HASH_MAX];
    int r;

    random_bytes(salt, sizeof salt);
    r = argon2id_hash_encoded(cost->argon2_passes, cost->argon2_memory, 1, prepared.p, prepared.n,
                              salt, sizeof salt, ARGON2_HASH_SIZE, text, sizeof text);
    if (r != ARGON2_OK)
        return error_set(err, ERR_INTERNAL, "argon2id: %s", argon2_error_message(r));
    buf_add_str(out, text);
    return 0;
}

/* crypt_r's scratch memory holds the password and is 32 KB: not for the stack. */
static void crypt_data_free(struct crypt_data **d)
{
    secret_wipe(*d, sizeof **d);
    free(*d);
}

static int yescrypt(const char *prepared, unsigned cost, struct buf *out, struct error *err)
{
    CLEANUP(crypt_data_free) struct crypt_data *data = NEW(struct crypt_data);
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *hash;

    if (!crypt_gensalt_rn("$y$", cost, NULL, 0, setting, sizeof setting))
        return error_set(err, ERR_INTERNAL, "yescrypt: %s", strerror(errno));
    hash = crypt_r(prepared, setting, data);
    if (!hash || *hash == '*')
        return error_set(err, ERR_INTERNAL, "yescrypt: %s", strerror(errno));
    buf_add_str(out, hash);
    return 0;
}

int password_hash(struct slice password, const struct password_cost *cost, struct buf *out,
                  struct error *err)
{
    CLEANUP(wipe_done) struct buf prepared = buf_make(PASSWORD_MAX * 64);
    int r = password_prepare(password, &prepared, err);

    if (r < 0) {
        (void)error_prefix(err, "the password");
        return r;
    }
    if (cost->scheme == PASSWORD_YESCRYPT)
        return yescrypt(buf_cstr(&prepared), cost->yescrypt_cost, out, err);
    return argon2id(buf_slice(&prepared), cost, out, err);
}

/* ---- SCRAM ---- */

static const struct {
    const char *name;
    const EVP_MD *(*md)(void);
    size_t size;
} scram_hashes[SCRAM_HASHES] = {
    [SCRAM_SHA256] = {"SCRAM-SHA-256", EVP_sha256, SHA256_SIZE},
    [SCRAM_SHA1] = {"SCRAM-SHA-1", EVP_sha1, 20},
};

const char *password_scram_name(enum scram_hash hash)
{
    return scram_hashes[hash].name;
}

uint32_t password_scram_iterations(const struct password_cost *cost, enum scram_hash hash)
{
    return hash == SCRAM_SHA1 ? cost->scram_sha1_iterations : cost->scram_iterations;
}

struct scram_keys {
    uint8_t stored[SHA256_SIZE], server[SHA256_SIZE];
};

static void scram_hmac(enum scram_hash hash, const uint8_t *key, struct slice text, uint8_t *ret)
{
    if (!HMAC(scram_hashes[hash].md(), key, (int)scram_hashes[hash].size, text.p, text.n, ret,
              NULL))
        abort();
}

/* RFC 5802 section 3. */
static void scram_keys(struct slice prepared, enum scram_hash hash, struct slice salt,
                       uint32_t iterations, struct scram_keys *ret)
{
    uint8_t salted[SHA256_SIZE], client[SHA256_SIZE];
    const EVP_MD *md = scram_hashes[hash].md();

    if (PKCS5_PBKDF2_HMAC((const char *)prepared.p, (int)prepared.n, salt.p, (int)salt.n,
                          (int)iterations, md, (int)scram_hashes[hash].size, salted) != 1)
        abort();
    scram_hmac(hash, salted, S("Client Key"), client);
    if (EVP_Digest(client, scram_hashes[hash].size, ret->stored, NULL, md, NULL) != 1)
        abort();
    scram_hmac(hash, salted, S("Server Key"), ret->server);
    secret_wipe(salted, sizeof salted);
    secret_wipe(client, sizeof client);
}

void password_scram_write(enum scram_hash hash, uint32_t iterations, struct slice salt,
                          const uint8_t *stored, const uint8_t *server, struct buf *out)
{
    buf_printf(out, "%s$%u:", scram_hashes[hash].name, iterations);
    base64_encode(out, salt);
    buf_add_byte(out, '$');
    base64_encode(out, slice_of(stored, scram_hashes[hash].size));
    buf_add_byte(out, ':');
    base64_encode(out, slice_of(server, scram_hashes[hash].size));
}

void password_scram_salted(struct slice prepared, enum scram_hash hash, struct slice salt,
                           uint32_t iterations, struct buf *out)
{
    struct scram_keys keys;

    scram_keys(prepared, hash, salt, iterations, &keys);
    password_scram_write(hash, iterations, salt, keys.stored, keys.server, out);
    secret_wipe(&keys, sizeof keys);
}

int password_scram(struct slice password, enum scram_hash hash, uint32_t iterations,
                   struct buf *out, struct error *err)
{
    CLEANUP(wipe_done) struct buf prepared = buf_make(PASSWORD_MAX * 64);
    uint8_t salt[SALT_SIZE];
    int r = password_prepare(password, &prepared, err);

    if (r < 0) {
        (void)error_prefix(err, "the password");
        return r;
    }
    random_bytes(salt, sizeof salt);
    password_scram_salted(buf_slice(&prepared), hash, slice_of(salt, sizeof salt), iterations, out);
    return 0;
}

bool password_scram_kind(const char *text, enum scram_hash *ret)
{
    for (enum scram_hash h = 0; h < SCRAM_HASHES; h++) {
        size_t n = strlen(scram_hashes[h].name);

        if (strncmp(text, scram_hashes[h].name, n) == 0 && text[n] == '$') {
            *ret = h;
            return true;
        }
    }
    return false;
}

/* ---- taking verifiers apart ---- */

/* Cuts at the first `byte`; false if there is none. */
static bool cut(struct slice *rest, uint8_t byte, struct slice *ret)
{
    ssize_t at = slice_find(*rest, byte);

    if (at < 0)
        return false;
    *ret = slice_sub(*rest, 0, (size_t)at);
    *rest = slice_skip(*rest, (size_t)at + 1);
    return true;
}

static bool decode_key(struct slice text, size_t size, uint8_t ret[static SHA256_SIZE])
{
    CLEANUP(buf_done) struct buf key = buf_make(64);

    if (base64_decode(&key, text) < 0 || key.n != size)
        return false;
    memcpy(ret, key.p, size);
    return true;
}

static bool scram_parse(const char *verifier, enum scram_hash *hash, uint64_t *iterations,
                        struct buf *salt, struct scram_keys *keys)
{
    struct slice rest = slice_str(verifier), name, number, salt_text, stored;

    if (!password_scram_kind(verifier, hash))
        return false;
    return cut(&rest, '$', &name) && cut(&rest, ':', &number) && cut(&rest, '$', &salt_text) &&
           cut(&rest, ':', &stored) && slice_to_u64(number, SCRAM_ITERATIONS_MAX, iterations) &&
           *iterations > 0 && base64_decode(salt, salt_text) == 0 && salt->n > 0 &&
           decode_key(stored, scram_hashes[*hash].size, keys->stored) &&
           decode_key(rest, scram_hashes[*hash].size, keys->server);
}

static bool argon2_parse(const char *hash)
{
    unsigned version = 0, memory = 0, passes = 0, lanes = 0;
    int n = 0;

    hash = strchr(hash + 1, '$') + 1; /* behind the name, which the caller saw */
    return sscanf(hash, "v=%9u$m=%9u,t=%9u,p=%9u$%n", &version, &memory, &passes, &lanes, &n) ==
               4 &&
           n > 0 && memory <= ARGON2_MEMORY_MAX && passes <= ARGON2_PASSES_MAX && lanes <= 64 &&
           strchr(hash + n, '$');
}

/* ---- comparing ---- */

enum kind { KIND_NONE, KIND_ARGON2ID, KIND_ARGON2I, KIND_CRYPT, KIND_SCRAM };

static const struct {
    const char *prefix;
    enum kind kind;
} kinds[] = {{"$argon2id$", KIND_ARGON2ID},
             {"$argon2i$", KIND_ARGON2I},
             {"$y$", KIND_CRYPT},
             {"$gy$", KIND_CRYPT},
             {"$7$", KIND_CRYPT},
             {"$2a$", KIND_CRYPT},
             {"$2b$", KIND_CRYPT},
             {"$2y$", KIND_CRYPT},
             {"$6$", KIND_CRYPT},
             {"$5$", KIND_CRYPT},
             {"SCRAM-SHA-256$", KIND_SCRAM},
             {"SCRAM-SHA-1$", KIND_SCRAM}};

/* Without the "{SCHEME}" in front. */
static const char *bare(const char *hash)
{
    const char *end = *hash == '{' ? strchr(hash, '}') : NULL;

    return end ? end + 1 : hash;
}

static enum kind kind_of(const char *hash)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strncmp(hash, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return kinds[i].kind;
    return KIND_NONE;
}

static int verify_scram(struct slice password, const char *verifier)
{
    CLEANUP(buf_done) struct buf salt = buf_make(PASSWORD_HASH_MAX);
    struct scram_keys want, got;
    enum scram_hash hash;
    uint64_t iterations;
    bool same;

    if (!scram_parse(verifier, &hash, &iterations, &salt, &want))
        return -ERR_INVALID;
    scram_keys(password, hash, buf_slice(&salt), (uint32_t)iterations, &got);
    same = secret_eq(slice_of(want.stored, scram_hashes[hash].size),
                     slice_of(got.stored, scram_hashes[hash].size));
    secret_wipe(&got, sizeof got);
    return same ? 0 : -ERR_AUTH;
}

static int verify_crypt(const char *password, const char *hash)
{
    CLEANUP(crypt_data_free) struct crypt_data *data = NEW(struct crypt_data);
    const char *got;

    errno = 0;
    got = crypt_r(password, hash, data);
    if (!got || *got == '*')
        return errno == ENOMEM ? -ERR_UNAVAILABLE : -ERR_INVALID;
    return secret_eq(slice_str(got), slice_str(hash)) ? 0 : -ERR_AUTH;
}

static int verify_argon2(struct slice password, const char *hash, argon2_type type)
{
    int r = argon2_verify(hash, password.p, password.n, type);

    switch (r) {
    case ARGON2_OK:
        return 0;
    case ARGON2_VERIFY_MISMATCH:
        return -ERR_AUTH;
    case ARGON2_MEMORY_ALLOCATION_ERROR:
    case ARGON2_THREAD_FAIL:
        return -ERR_UNAVAILABLE;
    default:
        return -ERR_INVALID;
    }
}

/* `password` has a NUL behind it and none inside. */
static int verify(struct buf *password, const char *hash)
{
    const char *text = buf_cstr(password);

    switch (kind_of(hash)) {
    case KIND_ARGON2ID:
        return verify_argon2(buf_slice(password), hash, Argon2_id);
    case KIND_ARGON2I:
        return verify_argon2(buf_slice(password), hash, Argon2_i);
    case KIND_CRYPT:
        return verify_crypt(text, hash);
    case KIND_SCRAM:
        return verify_scram(buf_slice(password), hash);
    case KIND_NONE:
        break;
    }
    return -ERR_INVALID;
}

int password_verify(struct slice password, const char *hash)
{
    CLEANUP(wipe_done) struct buf prepared = buf_make(PASSWORD_MAX * 64);
    CLEANUP(wipe_done) struct buf raw = buf_make(PASSWORD_MAX + 1);
    int r = -ERR_AUTH;

    hash = bare(hash);
    if (password.n == 0 || password.n > PASSWORD_MAX || slice_find(password, 0) >= 0)
        return -ERR_AUTH;
    buf_add_slice(&raw, password);
    if (password_prepare(password, &prepared, NULL) == 0)
        r = verify(&prepared, hash);
    if (r == 0 || r == -ERR_UNAVAILABLE || slice_eq(buf_slice(&prepared), password))
        return r;
    return verify(&raw, hash);
}

static bool crypt_form(const char *hash)
{
    /* $id$...$hash; crypt(5) says which characters a hash is made of. */
    static const char letters[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "$=";

    return strspn(hash, letters) == strlen(hash) && strlen(hash) >= 20 &&
           crypt_checksalt(hash) != CRYPT_SALT_INVALID;
}

bool password_hash_known(const char *hash)
{
    CLEANUP(buf_done) struct buf salt = buf_make(PASSWORD_HASH_MAX);
    enum scram_hash scram_hash;
    struct scram_keys keys;
    uint64_t iterations;

    if (strlen(hash) > PASSWORD_HASH_MAX)
        return false;
    hash = bare(hash);
    switch (kind_of(hash)) {
    case KIND_ARGON2ID:
    case KIND_ARGON2I:
        return argon2_parse(hash);
    case KIND_CRYPT:
        return crypt_form(hash);
    case KIND_SCRAM:
        return scram_parse(hash, &scram_hash, &iterations, &salt, &keys);
    case KIND_NONE:
        break;
    }
    return false;
}

void password_random(struct buf *out)
{
    static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789";
    const unsigned n = sizeof letters - 1, fair = 256 / n * n;
    uint8_t byte;

    for (unsigned i = 0; i < 20;) {
        random_bytes(&byte, 1);
        if (byte >= fair)
            continue;
        if (i && i % 5 == 0)
            buf_add_byte(out, '-');
        buf_add_byte(out, (uint8_t)letters[byte % n]);
        i++;
    }
}

/* ---- the gate ---- */

struct password_gate {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    unsigned slots, waiting, waiting_max;
};

struct password_gate *password_gate_new(unsigned slots, unsigned waiting)
{
    struct password_gate *g = NEW(struct password_gate);

    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->freed, NULL);
    g->slots = slots;
    g->waiting_max = waiting;
    return g;
}

void password_gate_free(struct password_gate *g)
{
    if (!g)
        return;
    pthread_cond_destroy(&g->freed);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

int password_gate_enter(struct password_gate *g)
{
    int r = 0;

    pthread_mutex_lock(&g->lock);
    if (g->slots == 0 && g->waiting >= g->waiting_max) {
        r = -ERR_UNAVAILABLE;
    } else {
        g->waiting++;
        while (g->slots == 0)
            pthread_cond_wait(&g->freed, &g->lock);
        g->waiting--;
        g->slots--;
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

void password_gate_leave(struct password_gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->slots++;
    pthread_cond_signal(&g->freed);
    pthread_mutex_unlock(&g->lock);
}
