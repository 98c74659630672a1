/* SPDX-License-Identifier: MPL-2.0 */
/* Keys in the store, and in memory ready to sign.
 *
 * Table dkim: key = domain NUL selector; head = version(1) = 1, algorithm(1), bits(be16),
 * created, active, retired (be64, wall ms), private key (string, PKCS #8 in DER).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/queue/dkim_impl.h"
#include "lib/store/store.h"

#define FORMAT      1
#define DOMAIN_MAX  255
#define CACHE_MS    30000
#define CACHE_MAX   10000 /* domains remembered */
#define PRIVATE_MAX 8192
#define LIST_PAGE   500

struct cached {
    UT_hash_handle hh;
    struct dkim_set *set;
    int64_t read_ms;
    char domain[];
};

struct dkim {
    struct store *store;
    int64_t cache_ms;
    pthread_mutex_t lock; /* cache */
    struct cached *cache; /* the longest there first */
};

struct dkim *dkim_new(struct store *store, int64_t cache_ms)
{
    struct dkim *dkim = NEW(struct dkim);

    dkim->store = store;
    dkim->cache_ms = cache_ms ? cache_ms : CACHE_MS;
    pthread_mutex_init(&dkim->lock, NULL);
    return dkim;
}

static void drop_cached(struct dkim *dkim, struct cached *c)
{
    HASH_DEL(dkim->cache, c);
    dkim_set_unref(c->set);
    free(c);
}

void dkim_free(struct dkim *dkim)
{
    if (!dkim)
        return;
    while (dkim->cache)
        drop_cached(dkim, dkim->cache);
    pthread_mutex_destroy(&dkim->lock);
    free(dkim);
}

/* ---- One key ---- */

const char *dkim_algorithm_name(enum dkim_algorithm algorithm)
{
    return algorithm == DKIM_RSA_SHA256 ? "rsa-sha256" : "ed25519-sha256";
}

const char *dkim_status_name(enum dkim_status status)
{
    static const char *const names[] = {"waiting", "active", "retired"};

    return names[status];
}

enum dkim_status dkim_key_status(const struct dkim_key *key, int64_t now_ms)
{
    if (key->retired_ms != 0 && now_ms >= key->retired_ms)
        return DKIM_RETIRED;
    return now_ms >= key->active_ms ? DKIM_ACTIVE : DKIM_WAITING;
}

void dkim_value_encode(const struct dkim_key *key, struct buf *out)
{
    buf_add_byte(out, FORMAT);
    buf_add_byte(out, (uint8_t)key->algorithm);
    buf_add_be16(out, (uint16_t)key->bits);
    buf_add_be64(out, (uint64_t)key->created_ms);
    buf_add_be64(out, (uint64_t)key->active_ms);
    buf_add_be64(out, (uint64_t)key->retired_ms);
    buf_add_string(out, key->private_);
}

int dkim_value_decode(struct slice value, struct dkim_key *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t format = cursor_u8(&c), algorithm = cursor_u8(&c);
    struct dkim_key key = *ret;

    key.algorithm = algorithm;
    key.bits = cursor_be16(&c);
    key.created_ms = (int64_t)cursor_be64(&c);
    key.active_ms = (int64_t)cursor_be64(&c);
    key.retired_ms = (int64_t)cursor_be64(&c);
    key.private_ = cursor_string(&c);
    if (c.bad || cursor_left(&c) > 0 || format != FORMAT || key.private_.n > PRIVATE_MAX ||
        (algorithm != DKIM_RSA_SHA256 && algorithm != DKIM_ED25519_SHA256))
        return -ERR_INVALID;
    *ret = key;
    return 0;
}

static EVP_PKEY *ready_key(struct slice der)
{
    const unsigned char *p = der.p;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)der.n);

    ERR_clear_error();
    return key;
}

/* The key's own words into `ret`. */
static int describe_key(EVP_PKEY *pkey, struct arena *a, struct dkim_key *ret, struct error *err)
{
    PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(pkey);
    unsigned char *der = NULL;
    int n = p8 ? i2d_PKCS8_PRIV_KEY_INFO(p8, &der) : -1;
    int id = EVP_PKEY_get_base_id(pkey), bits = EVP_PKEY_get_bits(pkey);
    int rc = 0;

    if (n <= 0 || (id != EVP_PKEY_RSA && id != EVP_PKEY_ED25519))
        rc = error_set(err, ERR_INVALID, "a DKIM key is an RSA or an Ed25519 key");
    else if (id == EVP_PKEY_RSA && (bits < 1024 || bits > 4096))
        rc = error_set(err, ERR_INVALID, "an RSA key for DKIM has 1024 to 4096 bits, not %d", bits);
    if (rc == 0) {
        ret->algorithm = id == EVP_PKEY_RSA ? DKIM_RSA_SHA256 : DKIM_ED25519_SHA256;
        ret->bits = id == EVP_PKEY_RSA ? (unsigned)bits : 256;
        ret->private_ = arena_slice(a, slice_of(der, (size_t)n));
    }
    if (der)
        OPENSSL_clear_free(der, (size_t)n);
    PKCS8_PRIV_KEY_INFO_free(p8);
    ERR_clear_error();
    return rc;
}

int dkim_key_make(enum dkim_algorithm algorithm, unsigned bits, struct arena *a,
                  struct dkim_key *ret, struct error *err)
{
    EVP_PKEY *pkey;

    if (algorithm == DKIM_RSA_SHA256 && (bits < 1024 || bits > 4096))
        return error_set(err, ERR_INVALID, "an RSA key for DKIM has 1024 to 4096 bits, not %u",
                         bits);
    pkey =
        algorithm == DKIM_RSA_SHA256 ? EVP_RSA_gen(bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!pkey)
        return error_set(err, ERR_INTERNAL, "OpenSSL makes no key");

    int rc = describe_key(pkey, a, ret, err);

    EVP_PKEY_free(pkey);
    return rc;
}

/* A key with a passphrase must not make anybody ask a terminal. */
static int no_passphrase(char *ret, int size, int rwflag, void *arg)
{
    return -1;
}

int dkim_key_read(struct slice text, struct arena *a, struct dkim_key *ret, struct error *err)
{
    BIO *bio = text.n <= (size_t)64 << 10 ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    int rc;

    if (!pkey && bio)
        pkey = ready_key(text);
    BIO_free(bio);
    ERR_clear_error();
    if (!pkey)
        return error_set(err, ERR_INVALID, "no private key in PEM or DER, without a passphrase");
    rc = describe_key(pkey, a, ret, err);
    EVP_PKEY_free(pkey);
    return rc;
}

/* RFC 8463 4: of an Ed25519 key the 32 bytes alone; of RSA the SubjectPublicKeyInfo. */
static int add_public(EVP_PKEY *pkey, enum dkim_algorithm algorithm, struct buf *out)
{
    unsigned char raw[32], *der = NULL;
    size_t raw_n = sizeof raw;

    if (algorithm == DKIM_ED25519_SHA256) {
        if (EVP_PKEY_get_raw_public_key(pkey, raw, &raw_n) != 1)
            return -ERR_INTERNAL;
        base64_encode(out, slice_of(raw, raw_n));
        return 0;
    }
    int n = i2d_PUBKEY(pkey, &der);
    if (n <= 0)
        return -ERR_INTERNAL;
    base64_encode(out, slice_of(der, (size_t)n));
    OPENSSL_free(der);
    return 0;
}

int dkim_key_record(const struct dkim_key *key, struct buf *out, struct error *err)
{
    EVP_PKEY *pkey = ready_key(key->private_);
    int rc;

    buf_printf(out, "v=DKIM1; k=%s; p=", key->algorithm == DKIM_RSA_SHA256 ? "rsa" : "ed25519");
    rc = pkey ? add_public(pkey, key->algorithm, out) : -ERR_INTERNAL;
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return rc == 0 ? 0 : error_set(err, ERR_INTERNAL, "the stored key is damaged");
}

/* ---- In the store ---- */

/* Labels of letters, digits, "-" and "_", none empty: what stands in a signature and in the DNS. */
static bool is_name(const char *name, size_t max)
{
    size_t n = strlen(name);
    bool start = true;

    if (n == 0 || n > max)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool dot = name[i] == '.';

        if (dot ? start
                : !(byte_is_digit((uint8_t)name[i]) || name[i] == '-' || name[i] == '_' ||
                    (name[i] >= 'a' && name[i] <= 'z')))
            return false;
        start = dot;
    }
    return !start;
}

static void add_key(struct buf *out, const char *domain, const char *selector)
{
    buf_add_str(out, domain);
    buf_add_byte(out, 0);
    buf_add_str(out, selector);
}

/* [from, to) of the keys of one domain. */
static void add_bounds(struct buf *from, struct buf *to, const char *domain)
{
    add_key(from, domain, "");
    buf_add_str(to, domain);
    buf_add_byte(to, 1);
}

static int read_doc(const struct store_doc *doc, struct arena *a, struct dkim_key *ret,
                    struct error *err)
{
    ssize_t nul = slice_find(doc->key, 0);
    struct dkim_key key = {0};

    if (nul < 0 || dkim_value_decode(doc->head, &key) < 0)
        return error_set(err, ERR_INTERNAL, "a stored DKIM key is damaged, or of a newer format");
    key.domain = arena_str(a, slice_sub(doc->key, 0, (size_t)nul));
    key.selector = arena_str(a, slice_skip(doc->key, (size_t)nul + 1));
    key.private_ = arena_slice(a, key.private_);
    *ret = key;
    return 0;
}

int dkim_key_list(struct dkim *dkim, const char *domain, struct arena *a, struct dkim_key **ret,
                  size_t *ret_n, struct error *err)
{
    CLEANUP(buf_done) struct buf from = buf_make(STORE_KEY_MAX), to = buf_make(STORE_KEY_MAX);
    VEC(struct dkim_key) keys = {0};
    bool more = true;
    int rc = 0;

    if (domain)
        add_bounds(&from, &to, domain);
    while (rc == 0 && more) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        struct store_query q = {.table = STORE_DKIM,
                                .from = buf_slice(&from),
                                .to = buf_slice(&to),
                                .limit = LIST_PAGE,
                                .parts = STORE_HEAD,
                                .level = STORE_MAJORITY};

        rc = store_range(dkim->store, &q, &docs, err);
        more = rc == 0 && docs.more;
        for (size_t i = 0; rc == 0 && i < docs.n; i++)
            rc = read_doc(&docs.items[i], a, VEC_PUSH(&keys), err);
        if (more) {
            buf_reset(&from, SIZE_MAX);
            buf_add_slice(&from, docs.items[docs.n - 1].key);
            buf_add_byte(&from, 0);
        }
    }
    if (rc == 0) {
        *ret = arena_array(a, keys.n + 1, sizeof **ret);
        if (keys.n > 0)
            memcpy(*ret, keys.items, keys.n * sizeof **ret);
        *ret_n = keys.n;
    }
    VEC_DONE(&keys);
    return rc;
}

static int check_new(struct dkim *dkim, const struct dkim_key *key, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct dkim_key *list;
    size_t n;

    if (!is_name(key->domain, DOMAIN_MAX))
        return error_set(err, ERR_INVALID, "\"%s\" is not a domain", key->domain);
    if (!is_name(key->selector, DKIM_SELECTOR_MAX))
        return error_set(err, ERR_INVALID,
                         "\"%s\" is not a selector: letters, digits, - and _, at most %d",
                         key->selector, DKIM_SELECTOR_MAX);
    int rc = dkim_key_list(dkim, key->domain, &a, &list, &n, err);
    if (rc == 0 && n >= DKIM_KEYS_MAX)
        return error_set(err, ERR_LIMIT, "%s has %d keys: delete retired ones", key->domain,
                         DKIM_KEYS_MAX);
    return rc;
}

int dkim_key_add(struct dkim *dkim, const struct dkim_key *key, struct error *err)
{
    CLEANUP(buf_done) struct buf k = buf_make(STORE_KEY_MAX), head = buf_make(16384);
    struct store_item item = {.table = STORE_DKIM};
    int64_t time;
    int rc = check_new(dkim, key, err);

    if (rc < 0)
        return rc;
    add_key(&k, key->domain, key->selector);
    dkim_value_encode(key, &head);
    item.key = buf_slice(&k);
    item.head = buf_slice(&head);
    rc = store_insert(dkim->store, &item, 1, &time, err);
    if (rc == 0 && item.outcome == STORE_TAKEN)
        return error_set(err, ERR_EXISTS, "%s has a key %s already", key->domain, key->selector);
    return rc;
}

/* Reads the key, lets `alter` change it (NULL: removes it), writes it guarded by its version. */
static int change_key(struct dkim *dkim, const char *domain, const char *selector,
                      const int64_t *retired_ms, struct error *err)
{
    CLEANUP(buf_done) struct buf k = buf_make(STORE_KEY_MAX), head = buf_make(16384);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_change change = {.table = STORE_DKIM, .remove = !retired_ms, .set_head = true};
    struct dkim_key key = {0};
    int64_t time;

    add_key(&k, domain, selector);
    change.key = buf_slice(&k);
    if (buf_full(&k))
        return error_set(err, ERR_NOTFOUND, "no such key");
    int rc =
        store_get(dkim->store, STORE_DKIM, &change.key, 1, STORE_HEAD, STORE_MAJORITY, &docs, err);
    if (rc < 0)
        return rc;
    if (!docs.items[0].found)
        return error_set(err, ERR_NOTFOUND, "%s has no key %s", domain, selector);
    if (retired_ms) {
        if (dkim_value_decode(docs.items[0].head, &key) < 0)
            return error_set(err, ERR_INTERNAL, "the stored key is damaged");
        key.retired_ms = *retired_ms;
        dkim_value_encode(&key, &head);
        change.head = buf_slice(&head);
    }
    change.version = docs.items[0].version;
    return store_update(dkim->store, &change, NULL, &time, err);
}

int dkim_key_retire(struct dkim *dkim, const char *domain, const char *selector, int64_t when_ms,
                    struct error *err)
{
    return change_key(dkim, domain, selector, &when_ms, err);
}

int dkim_key_delete(struct dkim *dkim, const char *domain, const char *selector, struct error *err)
{
    return change_key(dkim, domain, selector, NULL, err);
}

/* ---- Ready to sign ---- */

void dkim_set_unref(struct dkim_set *set)
{
    if (!set || atomic_fetch_sub(&set->refs, 1) != 1)
        return;
    for (size_t i = 0; i < set->n; i++)
        EVP_PKEY_free(set->ready[i]);
    arena_done(&set->arena);
    free(set);
}

static int read_set(struct dkim *dkim, const char *domain, struct dkim_set **ret, struct error *err)
{
    struct dkim_set *set = NEW(struct dkim_set);
    struct dkim_key *list;
    size_t n = 0;
    int rc = dkim_key_list(dkim, domain, &set->arena, &list, &n, err);

    set->refs = 1;
    for (size_t i = 0; rc == 0 && i < MIN(n, (size_t)DKIM_KEYS_MAX); i++) {
        set->keys[i] = list[i];
        set->ready[i] = ready_key(list[i].private_);
        if (!set->ready[i])
            rc = error_set(err, ERR_INTERNAL, "the DKIM key %s of %s is damaged", list[i].selector,
                           domain);
        else
            set->n++;
    }
    if (rc < 0)
        dkim_set_unref(set);
    else
        *ret = set;
    return rc;
}

static void remember(struct dkim *dkim, const char *domain, struct dkim_set *set)
{
    size_t n = strlen(domain);
    struct cached *old, *fresh = mem_zalloc(sizeof *fresh + n + 1);

    memcpy(fresh->domain, domain, n);
    fresh->set = set;
    fresh->read_ms = clock_mono_ms();
    atomic_fetch_add(&set->refs, 1);
    pthread_mutex_lock(&dkim->lock);
    HASH_FIND(hh, dkim->cache, domain, n, old);
    if (!old && HASH_COUNT(dkim->cache) >= CACHE_MAX)
        old = dkim->cache;
    if (old)
        drop_cached(dkim, old);
    HASH_ADD_KEYPTR(hh, dkim->cache, fresh->domain, n, fresh);
    pthread_mutex_unlock(&dkim->lock);
}

static struct dkim_set *recall(struct dkim *dkim, const char *domain)
{
    struct dkim_set *set = NULL;
    struct cached *c;

    pthread_mutex_lock(&dkim->lock);
    HASH_FIND(hh, dkim->cache, domain, strlen(domain), c);
    if (c && clock_mono_ms() < c->read_ms + dkim->cache_ms) {
        set = c->set;
        atomic_fetch_add(&set->refs, 1);
    }
    pthread_mutex_unlock(&dkim->lock);
    return set;
}

int dkim_set_get(struct dkim *dkim, const char *domain, struct dkim_set **ret, struct error *err)
{
    struct dkim_set *set = recall(dkim, domain);

    if (!set) {
        int rc = strlen(domain) <= DOMAIN_MAX ? read_set(dkim, domain, &set, err)
                                              : error_set(err, ERR_INTERNAL, "no domain");
        if (rc < 0)
            return rc;
        remember(dkim, domain, set);
    }
    *ret = set;
    return 0;
}
