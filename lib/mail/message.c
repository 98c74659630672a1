/* SPDX-License-Identifier: MPL-2.0 */
/* Messages on their way in (writer, prepared) and out (digests, reader).
 *
 * The writer drives lib/mime's intake: parser, digest, preview and skeleton in one pass over the
 * bytes. Its blobs go to the store from the thread that feeds it, one at a time; so a client that
 * uploads 100 MB costs this node one piece of memory and the store a steady stream.
 */
#include "lib/mail/message.h"

#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/content_impl.h"
#include "lib/mime/intake.h"
#include "lib/store/keys.h"

#define DIGEST_MAX      ((size_t)1 << 20)
#define SKELETON_MAX    ((size_t)8 << 20)
#define BLOBS_MAX       65536 /* of one message: 64 GB of them */
#define DIGESTS_AT_ONCE 512   /* keys in one read */
#define AHEAD_AT_ONCE   64    /* messages of some 64 KB at most */

struct message_writer {
    struct content *content;
    struct intake *intake;
    struct digest_ctx *hash;
    uint64_t size;
    VEC(struct blob_hash) blobs;
    struct error error; /* why a blob could not be stored */
};

struct blob_hash {
    uint8_t b[BLOB_HASH_SIZE];
};

/* --- writing ------------------------------------------------------------------------------------
 */

/* A message may hold the same part twice; one link serves both. */
static void note_blob(struct message_writer *w, const uint8_t *hash)
{
    for (size_t i = 0; i < w->blobs.n; i++)
        if (memcmp(w->blobs.items[i].b, hash, BLOB_HASH_SIZE) == 0)
            return;
    memcpy(VEC_PUSH(&w->blobs)->b, hash, BLOB_HASH_SIZE);
}

static int put_blob(void *ctx, struct slice bytes, uint8_t ret_hash[SKELETON_HASH])
{
    struct message_writer *w = ctx;
    int res;

    if (w->blobs.n >= BLOBS_MAX)
        return error_set(&w->error, ERR_TOOBIG, "the message has too many large parts");
    digest_sha256(bytes, ret_hash);
    res = content_blob_ensure(w->content, ret_hash, &bytes, &w->error);
    if (res == 0)
        note_blob(w, ret_hash);
    return res;
}

struct message_writer *message_writer_new(struct mail *mail)
{
    struct message_writer *w = NEW(struct message_writer);

    w->content = mail_content(mail);
    w->intake = intake_new(put_blob, w, NULL);
    w->hash = digest_new();
    return w;
}

static int writer_failed(struct message_writer *w, int res, struct error *err)
{
    if (w->error.kind && err)
        *err = w->error;
    else if (!w->error.kind)
        error_set(err, (enum err) - res, "the message could not be taken apart");
    return res;
}

int message_writer_feed(struct message_writer *w, struct slice bytes, struct error *err)
{
    uint64_t max = content_settings(w->content)->message_max;
    int res;

    w->size += bytes.n;
    if (w->size > max)
        return error_set(err, ERR_TOOBIG, "the message is larger than %llu octets",
                         (unsigned long long)max);
    digest_add(w->hash, bytes);
    res = intake_feed(w->intake, bytes);
    return res < 0 ? writer_failed(w, res, err) : 0;
}

uint64_t message_writer_size(const struct message_writer *w)
{
    return w->size;
}

int message_writer_finish(struct message_writer *w, struct prepared **ret_prepared,
                          struct error *err)
{
    CLEANUP(buf_done) struct buf digest = buf_make(DIGEST_MAX), skeleton = buf_make(SKELETON_MAX);
    CLEANUP(buf_done) struct buf body = buf_make(STORE_BODY_MAX);
    struct prepared *p;
    int res = intake_finish(w->intake, &digest, &skeleton);

    if (res < 0)
        return writer_failed(w, res, err);
    if (buf_full(&digest) || buf_full(&skeleton))
        return error_set(err, ERR_TOOBIG, "the message has too many parts");
    content_pack(w->content, buf_slice(&skeleton), &body);
    p = NEW(struct prepared);
    atomic_init(&p->refs, 1);
    p->size = w->size;
    digest_end(TAKE(w->hash), p->hash);
    p->digest = slice_of(mem_dup(digest.p, digest.n), digest.n);
    p->body = slice_of(mem_dup(body.p, body.n), body.n);
    p->n_blobs = w->blobs.n;
    p->blobs = (void *)TAKE(w->blobs.items);
    *ret_prepared = p;
    return 0;
}

void message_writer_free(struct message_writer *w)
{
    if (!w)
        return;
    intake_free(w->intake);
    if (w->hash)
        digest_free(w->hash);
    VEC_DONE(&w->blobs);
    free(w);
}

/* --- prepared -----------------------------------------------------------------------------------
 */

int prepared_with_head(struct prepared *base, struct slice head, struct prepared **ret_prepared,
                       struct error *err)
{
    CLEANUP(buf_done) struct buf digest = buf_make(DIGEST_MAX);
    struct prepared *p;

    if (base->head.n)
        return error_set(err, ERR_INTERNAL, "a message with head lines gets none again");
    if (mdigest_prepend(base->digest, head, &digest) < 0)
        return error_set(err, ERR_INTERNAL, "head lines do not fit the digest");
    p = NEW(struct prepared);
    atomic_init(&p->refs, 1);
    p->size = base->size + head.n;
    memcpy(p->hash, base->hash, sizeof p->hash);
    p->head = slice_of(mem_dup(head.p, head.n), head.n);
    p->digest = slice_of(mem_dup(digest.p, digest.n), digest.n);
    p->body = slice_of(mem_dup(base->body.p, base->body.n), base->body.n);
    p->blobs = mem_dup(base->blobs, base->n_blobs * BLOB_HASH_SIZE);
    p->n_blobs = base->n_blobs;
    *ret_prepared = p;
    return 0;
}

struct prepared *prepared_ref(struct prepared *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void prepared_unref(struct prepared *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    free((void *)p->digest.p);
    free((void *)p->body.p);
    free((void *)p->head.p);
    free(p->blobs);
    free(p);
}

uint64_t prepared_size(const struct prepared *p)
{
    return p->size;
}

size_t prepared_memory(const struct prepared *p)
{
    return sizeof *p + p->digest.n + p->body.n + p->head.n + p->n_blobs * BLOB_HASH_SIZE;
}

void prepared_hash(const struct prepared *p, uint8_t ret_sha256[32])
{
    memcpy(ret_sha256, p->hash, 32);
}

/* --- digests ------------------------------------------------------------------------------------
 */

struct hold {
    struct cache *cache;
    VEC(const struct cache_entry *) entries;
    bool has_read;
};

bool hold_has_read(const struct hold *hold)
{
    return hold && hold->has_read;
}

void hold_release(struct hold *hold)
{
    if (!hold)
        return;
    for (size_t i = 0; i < hold->entries.n; i++)
        cache_release(hold->cache, hold->entries.items[i]);
    VEC_DONE(&hold->entries);
    free(hold);
}

struct absent {
    size_t at[DIGESTS_AT_ONCE]; /* index in the caller's array */
    struct key16 keys[DIGESTS_AT_ONCE];
    struct slice slices[DIGESTS_AT_ONCE];
    size_t n;
};

/* The documents will be in the cache soon, each by itself, and bodies unpacked: twice as large, or
 * so. */
static void make_room(const struct store_docs *docs)
{
    size_t n = 0;

    for (size_t i = 0; i < docs->n; i++)
        n += docs->items[i].head.n + 2 * docs->items[i].body.n;
    mem_make_room(n + n / 4);
}

/* A digest that cannot be read is given as if the message were gone: the caller then opens the
 * message, and that says what is wrong. */
static int load_digests(struct content *c, uint64_t account, const uint64_t *ids,
                        struct absent *absent, struct slice *ret, struct hold *hold,
                        struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int res = content_fetch(c, STORE_MESSAGES, absent->slices, absent->n, STORE_HEAD, &docs, err);

    hold->has_read = true;
    if (res < 0)
        return res;
    make_room(&docs);
    for (size_t i = 0; i < absent->n; i++) {
        struct cache_entry fresh = {0};
        const struct cache_entry *e;
        struct message_head head;

        if (!docs.items[i].found || message_head_parse(docs.items[i].head, &head, NULL) < 0)
            continue;
        fresh.digest = head.digest;
        e = cache_put(hold->cache, account, ids[absent->at[i]], &fresh);
        *VEC_PUSH(&hold->entries) = e;
        ret[absent->at[i]] = e->digest;
    }
    absent->n = 0;
    return 0;
}

static int find_digests(struct content *c, uint64_t account, const uint64_t *ids, size_t n,
                        struct slice *ret, struct hold *hold, struct absent *absent,
                        struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct cache_entry *e = cache_get(hold->cache, account, ids[i], false);
        int res = 0;

        ret[i] = (struct slice){NULL, 0};
        if (e) {
            *VEC_PUSH(&hold->entries) = e;
            ret[i] = e->digest;
            continue;
        }
        absent->at[absent->n] = i;
        absent->keys[absent->n] = key_pair(account, ids[i]);
        absent->slices[absent->n] = KEY_SLICE(absent->keys[absent->n]);
        if (++absent->n == DIGESTS_AT_ONCE)
            res = load_digests(c, account, ids, absent, ret, hold, err);
        if (res < 0)
            return res;
    }
    return absent->n ? load_digests(c, account, ids, absent, ret, hold, err) : 0;
}

int message_digests(struct account *account, const uint64_t *ids, size_t n, struct slice *ret,
                    struct hold **ret_hold, struct error *err)
{
    struct content *c = mail_content(account_mail(account));
    CLEANUP_FREE struct absent *absent = NEW(struct absent);
    struct hold *hold = NEW(struct hold);
    int res;

    hold->cache = content_cache(c);
    VEC_RESERVE(&hold->entries, n);
    res = find_digests(c, account_id(account), ids, n, ret, hold, absent, err);
    if (res < 0) {
        hold_release(hold);
        return res;
    }
    *ret_hold = hold;
    return 0;
}

/* --- reading ------------------------------------------------------------------------------------
 */

struct message_reader {
    struct content *content;
    const struct cache_entry *entry;
    struct skeleton skeleton;
    uint8_t blob_hash[BLOB_HASH_SIZE]; /* of what is in `blob` */
    struct buf blob;
    bool has_blob, verify;
    struct error error;
};

/* A whole document into the cache: held. */
static int keep_content(struct content *c, uint64_t account, uint64_t id,
                        const struct store_doc *doc, const struct cache_entry **ret,
                        struct error *err)
{
    CLEANUP(buf_done) struct buf skeleton = buf_make(SKELETON_MAX);
    struct cache_entry fresh = {.has_skeleton = true};
    struct message_head head;
    int res = message_head_parse(doc->head, &head, err);

    if (res == 0)
        res = message_body_unpack(c, doc->body, &fresh.head_lines, &skeleton, err);
    if (res < 0)
        return res;
    fresh.digest = head.digest;
    fresh.skeleton = buf_slice(&skeleton);
    *ret = cache_put(content_cache(c), account, id, &fresh);
    return 0;
}

static int load_content(struct content *c, uint64_t account, uint64_t id,
                        const struct cache_entry **ret, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key16 key = key_pair(account, id);
    struct slice slice = KEY_SLICE(key);
    int res = content_fetch(c, STORE_MESSAGES, &slice, 1, STORE_BOTH, &docs, err);

    if (res < 0)
        return res;
    if (!docs.items[0].found)
        return error_set(err, ERR_NOTFOUND, "the message is not there any more");
    return keep_content(c, account, id, &docs.items[0], ret, err);
}

static int load_ahead(struct content *c, uint64_t account, const uint64_t *ids,
                      struct absent *absent, struct hold *hold, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int res = content_fetch(c, STORE_MESSAGES, absent->slices, absent->n, STORE_BOTH, &docs, err);

    hold->has_read = true;
    if (res == 0)
        make_room(&docs);
    for (size_t i = 0; i < absent->n && res == 0; i++) {
        const struct cache_entry *e;

        if (docs.items[i].found &&
            keep_content(c, account, ids[absent->at[i]], &docs.items[i], &e, NULL) == 0)
            *VEC_PUSH(&hold->entries) = e;
    }
    absent->n = 0;
    return res;
}

static int read_ahead(struct content *c, uint64_t account, const uint64_t *ids, size_t n,
                      struct hold *hold, struct absent *absent, struct error *err)
{
    int res = 0;

    for (size_t i = 0; i < n && res == 0; i++) {
        const struct cache_entry *e = cache_get(hold->cache, account, ids[i], true);

        if (e) {
            *VEC_PUSH(&hold->entries) = e;
            continue;
        }
        absent->at[absent->n] = i;
        absent->keys[absent->n] = key_pair(account, ids[i]);
        absent->slices[absent->n] = KEY_SLICE(absent->keys[absent->n]);
        if (++absent->n == AHEAD_AT_ONCE)
            res = load_ahead(c, account, ids, absent, hold, err);
    }
    return res == 0 && absent->n ? load_ahead(c, account, ids, absent, hold, err) : res;
}

int message_read_ahead(struct account *account, const uint64_t *ids, size_t n,
                       struct hold **ret_hold, struct error *err)
{
    struct content *c = mail_content(account_mail(account));
    CLEANUP_FREE struct absent *absent = NEW(struct absent);
    struct hold *hold = NEW(struct hold);
    int res;

    hold->cache = content_cache(c);
    res = read_ahead(c, account_id(account), ids, n, hold, absent, err);
    if (res < 0) {
        hold_release(hold);
        return res;
    }
    *ret_hold = hold;
    return 0;
}

static int reader_open(struct content *c, uint64_t account, uint64_t id,
                       struct message_reader **ret, struct error *err)
{
    const struct cache_entry *e = cache_get(content_cache(c), account, id, true);
    struct message_reader *r;
    int res = e ? 0 : load_content(c, account, id, &e, err);

    if (res < 0)
        return res;
    r = NEW(struct message_reader);
    r->content = c;
    r->entry = e;
    r->blob = buf_make(STORE_BODY_MAX);
    if (skeleton_open(&r->skeleton, e->skeleton) < 0) {
        message_close(r);
        return error_set(err, ERR_INTERNAL, "damaged skeleton of a message in the store");
    }
    *ret = r;
    return 0;
}

int message_open(struct account *account, uint64_t id, struct message_reader **ret_reader,
                 struct error *err)
{
    return reader_open(mail_content(account_mail(account)), account_id(account), id, ret_reader,
                       err);
}

uint64_t message_size(const struct message_reader *r)
{
    return r->entry->head_lines.n + r->skeleton.size;
}

static int check_hash(struct message_reader *r, const uint8_t *hash)
{
    uint8_t is[SHA256_SIZE];

    digest_sha256(buf_slice(&r->blob), is);
    if (memcmp(is, hash, sizeof is) != 0)
        return error_set(&r->error, ERR_INTERNAL, "a blob's bytes do not have its hash");
    return 0;
}

/* The last blob is kept: a large part is read slice by slice. */
static int fetch_blob(void *ctx, const uint8_t hash[SKELETON_HASH], struct slice *ret)
{
    struct message_reader *r = ctx;
    int res = 0;

    if (!r->has_blob || memcmp(r->blob_hash, hash, BLOB_HASH_SIZE) != 0) {
        r->has_blob = false;
        buf_reset(&r->blob, SIZE_MAX);
        res = content_blob(r->content, hash, &r->blob, &r->error);
        if (res == 0 && r->verify)
            res = check_hash(r, hash);
        memcpy(r->blob_hash, hash, BLOB_HASH_SIZE);
        r->has_blob = res == 0;
    }
    *ret = buf_slice(&r->blob);
    return res;
}

int message_read(struct message_reader *r, uint64_t offset, size_t n, struct buf *out,
                 struct error *err)
{
    struct slice head = r->entry->head_lines;
    int res;

    if (offset < head.n) {
        size_t k = MIN(n, head.n - (size_t)offset);

        buf_add(out, head.p + offset, k);
        offset += k;
        n -= k;
    }
    if (!n)
        return buf_full(out) ? error_set(err, ERR_LIMIT, "no room for the bytes read") : 0;
    r->error = (struct error){0};
    res = skeleton_read(&r->skeleton, offset - head.n, n, fetch_blob, r, out);
    if (res == 0)
        return 0;
    if (r->error.kind && err)
        *err = r->error;
    else
        error_set(err, (enum err) - res, "the content of a message cannot be read");
    return res;
}

void message_close(struct message_reader *r)
{
    if (!r)
        return;
    cache_release(content_cache(r->content), r->entry);
    buf_done(&r->blob);
    free(r);
}

/* --- checking -----------------------------------------------------------------------------------
 */

static int verify_bytes(struct message_reader *r, struct error *err)
{
    CLEANUP(buf_done) struct buf out = buf_make(STORE_BODY_MAX);
    uint64_t size = message_size(r);
    struct mdigest digest;

    for (uint64_t at = 0; at < size; at += out.n) {
        int res;

        buf_reset(&out, SIZE_MAX);
        res = message_read(r, at, (size_t)1 << 20, &out, err);
        if (res < 0)
            return res;
        if (!out.n)
            return error_set(err, ERR_INTERNAL, "a message is shorter than its skeleton says");
    }
    if (mdigest_open(&digest, r->entry->digest) < 0)
        return error_set(err, ERR_INTERNAL, "damaged digest of a message");
    if (digest.size != size)
        return error_set(err, ERR_INTERNAL, "a message of %llu octets, but its digest says %llu",
                         (unsigned long long)size, (unsigned long long)digest.size);
    return 0;
}

int content_verify(struct content *c, uint64_t account, uint64_t message, struct error *err)
{
    struct message_reader *r;
    int res;

    content_forget(c, account, message);
    res = reader_open(c, account, message, &r, err);
    if (res < 0)
        return res;
    r->verify = true;
    res = verify_bytes(r, err);
    message_close(r);
    return res == -ERR_NOTFOUND ? error_set(err, ERR_INTERNAL, "a blob is not in the store") : res;
}

void content_forget(struct content *c, uint64_t account, uint64_t message)
{
    cache_drop(content_cache(c), account, message);
}
