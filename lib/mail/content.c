/* SPDX-License-Identifier: MPL-2.0 */
/* Blobs, sights, and the form of documents.
 *
 * A sight is the store time at which this node saw a blob alive. It is remembered, so that a blob
 * that many messages share (a logo, a newsletter's picture) costs a delivery no round trip while
 * its sight is younger than half the guard. Forgetting one costs a read and nothing else, so the
 * table is simply emptied when it is full.
 *
 * To put blobs elsewhere (file system, S3): a further `where` in the blob's head, and the steps of
 * rule 5 in tests/model/blob_model.py.
 */
#include "lib/mail/content_impl.h"

#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mime/skeleton.h"
#include "lib/store/keys.h"

#define MESSAGE_FORMAT 1
#define BLOB_FORMAT    1
#define SIGHTS_MAX     100000 /* unless the settings say */
#define CONTEXTS_MAX   64
#define ZSTD_LEVEL     3
#define LOOKS_MAX      8 /* tries to see one blob alive; each failure is another's change in between */

enum pack_format { PACK_PLAIN = 0, PACK_ZSTD = 1 };

struct sight {
    uint8_t hash[BLOB_HASH_SIZE];
    int64_t seen_ms;
    UT_hash_handle hh;
};

struct content {
    struct store *store;
    struct mail_settings settings;
    struct cache *cache;
    _Atomic int64_t clock;
    _Atomic int64_t clock_mono_ms; /* clock_mono_ms() when it was heard */
    pthread_mutex_t mutex;         /* guards what follows */
    struct sight *sights;
    unsigned sights_max;
    VEC(ZSTD_CCtx *) cctxs;
    VEC(ZSTD_DCtx *) dctxs;
};

struct content *content_new(struct store *store, const struct mail_settings *settings)
{
    struct content *c = NEW(struct content);

    c->store = store;
    c->settings = *settings;
    c->sights_max = settings->sights_max ? settings->sights_max : SIGHTS_MAX;
    c->cache = cache_new(settings->content_cache_bytes);
    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

static void sights_clear(struct content *c)
{
    struct sight *s, *next;

    HASH_ITER (hh, c->sights, s, next) {
        HASH_DEL(c->sights, s);
        free(s);
    }
}

void content_free(struct content *c)
{
    if (!c)
        return;
    cache_free(c->cache);
    sights_clear(c);
    for (size_t i = 0; i < c->cctxs.n; i++)
        ZSTD_freeCCtx(c->cctxs.items[i]);
    for (size_t i = 0; i < c->dctxs.n; i++)
        ZSTD_freeDCtx(c->dctxs.items[i]);
    VEC_DONE(&c->cctxs);
    VEC_DONE(&c->dctxs);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

struct cache *content_cache(struct content *c)
{
    return c->cache;
}

struct store *content_store(struct content *c)
{
    return c->store;
}

const struct mail_settings *content_settings(struct content *c)
{
    return &c->settings;
}

int64_t content_clock(const struct content *c)
{
    return atomic_load(&((struct content *)c)->clock);
}

void content_heard(struct content *c, int64_t t)
{
    int64_t now = atomic_load(&c->clock);

    while (t > now && !atomic_compare_exchange_weak(&c->clock, &now, t))
        ;
    if (t > now)
        atomic_store(&c->clock_mono_ms, clock_mono_ms());
}

int64_t content_clock_fine(const struct content *c)
{
    int64_t passed = clock_mono_ms() - atomic_load(&((struct content *)c)->clock_mono_ms);

    return content_clock(c) + MIN(MAX(passed, 0), 999);
}

/* --- compression -------------------------------------------------------------------------------
 */

#define LEND(c, list, make)                                                                        \
    ({                                                                                             \
        pthread_mutex_lock(&(c)->mutex);                                                           \
        __auto_type x_ = (c)->list.n ? (c)->list.items[--(c)->list.n] : NULL;                      \
        pthread_mutex_unlock(&(c)->mutex);                                                         \
        if (!x_)                                                                                   \
            x_ = make();                                                                           \
        if (!x_)                                                                                   \
            abort();                                                                               \
        x_;                                                                                        \
    })

#define GIVE_BACK(c, list, x, drop)                                                                \
    do {                                                                                           \
        pthread_mutex_lock(&(c)->mutex);                                                           \
        if ((c)->list.n < CONTEXTS_MAX) {                                                          \
            *VEC_PUSH(&(c)->list) = (x);                                                           \
            (x) = NULL;                                                                            \
        }                                                                                          \
        pthread_mutex_unlock(&(c)->mutex);                                                         \
        drop(x);                                                                                   \
    } while (0)

ZSTD_CCtx *content_lend_cctx(struct content *c)
{
    return LEND(c, cctxs, ZSTD_createCCtx);
}

void content_return_cctx(struct content *c, ZSTD_CCtx *cctx)
{
    GIVE_BACK(c, cctxs, cctx, ZSTD_freeCCtx);
}

ZSTD_DCtx *content_lend_dctx(struct content *c)
{
    return LEND(c, dctxs, ZSTD_createDCtx);
}

void content_return_dctx(struct content *c, ZSTD_DCtx *dctx)
{
    GIVE_BACK(c, dctxs, dctx, ZSTD_freeDCtx);
}

void content_pack(struct content *c, struct slice bytes, struct buf *out)
{
    size_t bound = ZSTD_compressBound(bytes.n), n;
    ZSTD_CCtx *cctx;
    uint8_t *to;

    buf_add_byte(out, PACK_ZSTD);
    to = buf_reserve(out, bound);
    if (!to)
        return;
    cctx = content_lend_cctx(c);
    n = ZSTD_compressCCtx(cctx, to, bound, bytes.p, bytes.n, ZSTD_LEVEL);
    content_return_cctx(c, cctx);
    /* a photograph does not get smaller: then reading it back should cost nothing either */
    if (!ZSTD_isError(n) && n < bytes.n - bytes.n / 16) {
        out->n += n;
        return;
    }
    out->p[out->n - 1] = PACK_PLAIN;
    buf_add_slice(out, bytes);
}

static int damaged(struct error *err, const char *what)
{
    return error_set(err, ERR_INTERNAL, "damaged %s in the store", what);
}

int content_unpack(struct content *c, struct slice packed, size_t max, struct buf *out,
                   struct error *err)
{
    unsigned long long size;
    ZSTD_DCtx *dctx;
    uint8_t *to;
    size_t n;

    if (!packed.n)
        return damaged(err, "value (empty)");
    if (packed.p[0] == PACK_PLAIN) {
        buf_add_slice(out, slice_skip(packed, 1));
        return buf_full(out) ? damaged(err, "value (too large)") : 0;
    }
    if (packed.p[0] != PACK_ZSTD)
        return error_set(err, ERR_INTERNAL,
                         "a stored value of format %u, which this version "
                         "does not know",
                         packed.p[0]);
    packed = slice_skip(packed, 1);
    size = ZSTD_getFrameContentSize(packed.p, packed.n);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > max)
        return damaged(err, "zstd frame (size)");
    to = buf_reserve(out, (size_t)size);
    if (!to)
        return damaged(err, "zstd frame (too large)");
    dctx = content_lend_dctx(c);
    n = ZSTD_decompressDCtx(dctx, to, (size_t)size, packed.p, packed.n);
    content_return_dctx(c, dctx);
    if (ZSTD_isError(n) || n != size)
        return damaged(err, "zstd frame");
    out->n += n;
    return 0;
}

/* --- documents ----------------------------------------------------------------------------------
 */

int message_head_parse(struct slice head, struct message_head *ret, struct error *err)
{
    struct cursor in = cursor_of(head);
    uint8_t version = cursor_u8(&in);
    struct message_head got;
    uint64_t n;

    if (!in.bad && version != MESSAGE_FORMAT)
        return error_set(err, ERR_INTERNAL,
                         "a message of format %u, which this version does not "
                         "know",
                         version);
    got.tag = cursor_bytes(&in, MESSAGE_TAG_SIZE);
    n = cursor_varint(&in);
    if (n > cursor_left(&in) / BLOB_HASH_SIZE)
        return damaged(err, "message (blob list)");
    got.blobs = cursor_bytes(&in, (size_t)n * BLOB_HASH_SIZE);
    got.digest = cursor_bytes(&in, cursor_left(&in));
    if (in.bad)
        return damaged(err, "message");
    *ret = got;
    return 0;
}

int message_body_unpack(struct content *c, struct slice body, struct slice *ret_head,
                        struct buf *out, struct error *err)
{
    struct cursor in = cursor_of(body);
    struct slice head = cursor_string(&in);
    int res;

    if (in.bad)
        return damaged(err, "message (head lines)");
    res = content_unpack(c, slice_of(in.p, cursor_left(&in)), STORE_BODY_MAX, out, err);
    if (res == 0)
        *ret_head = head;
    return res;
}

bool content_is_own(struct slice head, const uint8_t tag[MESSAGE_TAG_SIZE])
{
    struct message_head got;

    return message_head_parse(head, &got, NULL) == 0 &&
           slice_eq(got.tag, slice_of(tag, MESSAGE_TAG_SIZE));
}

void blob_head_encode(const struct blob_head *head, struct buf *out)
{
    buf_add_byte(out, BLOB_FORMAT);
    buf_add_byte(out, (uint8_t)(head->dying | head->empty << 1));
}

int blob_head_parse(struct slice bytes, struct blob_head *ret, struct error *err)
{
    struct cursor in = cursor_of(bytes);
    uint8_t version = cursor_u8(&in), flags = cursor_u8(&in);

    if (in.bad)
        return damaged(err, "blob");
    if (version != BLOB_FORMAT || flags > 3)
        return error_set(err, ERR_INTERNAL, "a blob of format %u, which this version does not know",
                         version);
    *ret = (struct blob_head){.dying = flags & 1, .empty = flags & 2};
    return 0;
}

size_t content_item_count(const struct prepared *p)
{
    return 1 + p->n_blobs;
}

static struct slice build_head(const struct prepared *p, const uint8_t *tag, struct arena *arena)
{
    size_t n = 1 + MESSAGE_TAG_SIZE + 10 + p->n_blobs * BLOB_HASH_SIZE + p->digest.n;
    struct buf out = {.p = arena_alloc(arena, n), .cap_now = n, .max = n};

    buf_add_byte(&out, MESSAGE_FORMAT);
    buf_add(&out, tag, MESSAGE_TAG_SIZE);
    buf_add_varint(&out, p->n_blobs);
    buf_add(&out, p->blobs, p->n_blobs * BLOB_HASH_SIZE);
    buf_add_slice(&out, p->digest);
    return buf_slice(&out);
}

static struct slice build_body(const struct prepared *p, struct arena *arena)
{
    size_t n = 10 + p->head.n + p->body.n;
    struct buf out = {.p = arena_alloc(arena, n), .cap_now = n, .max = n};

    buf_add_string(&out, p->head);
    buf_add_slice(&out, p->body);
    return buf_slice(&out);
}

static struct slice in_arena(struct arena *arena, const void *p, size_t n)
{
    uint8_t *to = arena_alloc(arena, n);

    memcpy(to, p, n);
    return slice_of(to, n);
}

void content_items(const struct prepared *p, uint64_t account, uint64_t message,
                   const uint8_t tag[MESSAGE_TAG_SIZE], struct arena *arena,
                   struct store_item *items)
{
    struct key16 key = key_pair(account, message);

    items[0] = (struct store_item){
        .table = STORE_MESSAGES,
        .key = in_arena(arena, key.b, sizeof key.b),
        .head = build_head(p, tag, arena),
        .body = build_body(p, arena),
    };
    for (size_t i = 0; i < p->n_blobs; i++) {
        struct key32 link = key_bloblink(p->blobs[i], account, message);

        items[1 + i] = (struct store_item){
            .table = STORE_BLOBLINKS,
            .key = in_arena(arena, link.b, sizeof link.b),
        };
    }
}

int content_links(struct slice head, uint64_t account, uint64_t message, struct arena *arena,
                  struct slice **ret_keys, size_t *ret_n, struct error *err)
{
    struct message_head got;
    struct slice *keys;
    size_t n;
    int res = message_head_parse(head, &got, err);

    if (res < 0)
        return res;
    n = got.blobs.n / BLOB_HASH_SIZE;
    keys = arena_array(arena, n, sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        struct key32 link = key_bloblink(got.blobs.p + i * BLOB_HASH_SIZE, account, message);

        keys[i] = in_arena(arena, link.b, sizeof link.b);
    }
    *ret_keys = keys;
    *ret_n = n;
    return 0;
}

/* --- sights -------------------------------------------------------------------------------------
 */

static bool sight_get(struct content *c, const uint8_t *hash, int64_t *ret_ms)
{
    struct sight *s;

    pthread_mutex_lock(&c->mutex);
    HASH_FIND(hh, c->sights, hash, BLOB_HASH_SIZE, s);
    if (s)
        *ret_ms = s->seen_ms;
    pthread_mutex_unlock(&c->mutex);
    return s;
}

static void sight_put(struct content *c, const uint8_t *hash, int64_t seen_ms)
{
    struct sight *s;

    content_heard(c, seen_ms);
    pthread_mutex_lock(&c->mutex);
    HASH_FIND(hh, c->sights, hash, BLOB_HASH_SIZE, s);
    if (!s) {
        if (HASH_COUNT(c->sights) >= c->sights_max)
            sights_clear(c);
        s = NEW(struct sight);
        memcpy(s->hash, hash, BLOB_HASH_SIZE);
        HASH_ADD(hh, c->sights, hash, BLOB_HASH_SIZE, s);
    }
    s->seen_ms = MAX(s->seen_ms, seen_ms);
    pthread_mutex_unlock(&c->mutex);
}

static void sight_drop(struct content *c, const uint8_t *hash)
{
    struct sight *s;

    pthread_mutex_lock(&c->mutex);
    HASH_FIND(hh, c->sights, hash, BLOB_HASH_SIZE, s);
    if (s)
        HASH_DEL(c->sights, s);
    pthread_mutex_unlock(&c->mutex);
    free(s);
}

static bool sight_is_fresh(struct content *c, const uint8_t *hash)
{
    int64_t seen;

    return sight_get(c, hash, &seen) && content_clock(c) - seen <= c->settings.guard_ms / 2;
}

bool content_sights(struct content *c, const struct prepared *p, int64_t *ret_oldest,
                    int64_t *ret_newest)
{
    int64_t oldest = INT64_MAX, newest = INT64_MIN, seen;

    if (!p->n_blobs) {
        *ret_oldest = *ret_newest = 0;
        return true;
    }
    for (size_t i = 0; i < p->n_blobs; i++) {
        if (!sight_get(c, p->blobs[i], &seen))
            return false;
        oldest = MIN(oldest, seen);
        newest = MAX(newest, seen);
    }
    *ret_oldest = oldest;
    *ret_newest = newest;
    return true;
}

/* --- blobs --------------------------------------------------------------------------------------
 */

/* A blob that is there: alive, or to be revived, or without its bytes. 1: seen alive; 0: look
 * again. */
static int blob_revive(struct content *c, const struct store_doc *doc, int64_t reply,
                       const struct slice *bytes, struct error *err)
{
    struct blob_head head;
    CLEANUP(buf_done) struct buf new_head = buf_make(16), body = buf_make(STORE_BODY_MAX);
    struct store_change change = {
        .table = STORE_BLOBS, .key = doc->key, .version = doc->version, .set_head = true};
    int64_t at;
    int res = blob_head_parse(doc->head, &head, err);

    if (res < 0)
        return res;
    if (!head.dying && !head.empty) {
        sight_put(c, doc->key.p, reply);
        return 1;
    }
    if (head.empty) {
        if (!bytes)
            return error_set(err, ERR_CANCELLED, "a part of the message is not stored any more");
        content_pack(c, *bytes, &body);
        change.set_body = true;
        change.body = buf_slice(&body);
    }
    blob_head_encode(&(struct blob_head){0}, &new_head);
    change.head = buf_slice(&new_head);
    res = store_update(c->store, &change, NULL, &at, err);
    if (res == 0) {
        sight_put(c, doc->key.p, at);
        return 1;
    }
    return res == -ERR_CONFLICT || res == -ERR_UNKNOWN_OUTCOME ? 0 : res;
}

/* 1: stored and seen; 0: somebody else's may be there, look again. */
static int blob_insert(struct content *c, const uint8_t *hash, struct slice bytes,
                       struct error *err)
{
    CLEANUP(buf_done) struct buf head = buf_make(16), body = buf_make(STORE_BODY_MAX);
    struct store_item item = {.table = STORE_BLOBS, .key = slice_of(hash, BLOB_HASH_SIZE)};
    int64_t at = 0;
    int res;

    blob_head_encode(&(struct blob_head){0}, &head);
    content_pack(c, bytes, &body);
    item.head = buf_slice(&head);
    item.body = buf_slice(&body);
    res = store_insert(c->store, &item, 1, &at, err);
    if (res < 0 && res != -ERR_UNKNOWN_OUTCOME)
        return res;
    if (res == 0 && item.outcome == STORE_DONE) {
        sight_put(c, hash, at);
        return 1;
    }
    if (res == 0 && item.outcome == STORE_REFUSED)
        return error_set(err, ERR_UNAVAILABLE, "the store refused a part of the message");
    return 0;
}

int content_blob_ensure(struct content *c, const uint8_t hash[BLOB_HASH_SIZE],
                        const struct slice *bytes, struct error *err)
{
    struct slice key = slice_of(hash, BLOB_HASH_SIZE);

    if (sight_is_fresh(c, hash))
        return 0;
    for (int look = 0; look < LOOKS_MAX; look++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int res = store_get(c->store, STORE_BLOBS, &key, 1, STORE_HEAD, STORE_MAJORITY, &docs, err);

        if (res < 0)
            return res;
        if (docs.items[0].found) {
            docs.items[0].key = key;
            res = blob_revive(c, &docs.items[0], docs.time, bytes, err);
        } else if (bytes) {
            res = blob_insert(c, hash, *bytes, err);
        } else {
            sight_drop(c, hash);
            return error_set(err, ERR_CANCELLED, "a part of the message is not stored any more");
        }
        if (res != 0 && res != -ERR_UNAVAILABLE) /* for the store waits the next look */
            return res > 0 ? 0 : res;
    }
    return error_set(err, ERR_UNAVAILABLE,
                     "a part of the message could not be stored: its blob "
                     "changes all the time");
}

int content_look(struct content *c, const struct prepared *p, struct error *err)
{
    for (size_t i = 0; i < p->n_blobs; i++) {
        int res = content_blob_ensure(c, p->blobs[i], NULL, err);

        if (res < 0)
            return res;
    }
    return 0;
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* Asks again for the documents that were not found, at a level that knows more. */
static int fetch_missing(struct content *c, enum store_table table, const struct slice *keys,
                         enum store_parts parts, enum store_level level, struct store_docs *docs,
                         struct error *err)
{
    for (size_t i = 0; i < docs->n; i++) {
        CLEANUP(store_docs_done) struct store_docs again = {0};
        int res;

        if (docs->items[i].found)
            continue;
        res = store_get(c->store, table, &keys[i], 1, parts, level, &again, err);
        if (res < 0)
            return res;
        if (!again.items[0].found)
            continue;
        docs->items[i] = again.items[0];
        docs->items[i].key = keys[i];
        docs->items[i].head = arena_slice(&docs->arena, again.items[0].head);
        docs->items[i].body = arena_slice(&docs->arena, again.items[0].body);
    }
    return 0;
}

int content_fetch(struct content *c, enum store_table table, const struct slice *keys, size_t n,
                  enum store_parts parts, struct store_docs *docs, struct error *err)
{
    int res = store_get(c->store, table, keys, n, parts, STORE_ANY, docs, err);

    /* a majority read may be old, and then shows nothing of what is there: the linearizable one
     * decides (tests/model/blob_model.py, fetch) */
    if (res == 0)
        res = fetch_missing(c, table, keys, parts, STORE_LINEARIZABLE, docs, err);
    if (res == 0)
        content_heard(c, docs->time);
    return res;
}

int content_blob(struct content *c, const uint8_t hash[BLOB_HASH_SIZE], struct buf *out,
                 struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct slice key = slice_of(hash, BLOB_HASH_SIZE);
    int res = content_fetch(c, STORE_BLOBS, &key, 1, STORE_BOTH, &docs, err);

    if (res < 0)
        return res;
    if (!docs.items[0].found)
        return error_set(err, ERR_NOTFOUND, "a blob of the message is not in the store");
    return content_unpack(c, docs.items[0].body, STORE_BODY_MAX, out, err);
}
