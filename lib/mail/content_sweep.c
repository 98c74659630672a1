/* SPDX-License-Identifier: MPL-2.0 */
/* Sweeping: what nobody uses goes, without counters or locks, from any node at any time.
 *
 * Blobs and links are walked side by side in the order of their hashes. For each hash (rules 2 and
 * 3 of tests/model/blob_model.py):
 *   - a link older than the horizon whose message is absent, or does not name the blob, is dead
 * (its writer gave up, or its id was another's): it is removed. No record will ever name that
 * message;
 *   - a blob without links is marked dying; if in a reply more than a horizon of store time after
 * the mark there are still none, it is deleted. Who saw it alive saw it before the mark, so his
 * link would be there by then; who meets it dying revives it first. The age that counts is the one
 * in the reply that shows the links: a frozen primary shows a day-old nothing. Every change is
 * guarded by the version read.
 */
#include "lib/base/mem.h"
#include "lib/mail/content_impl.h"
#include "lib/store/keys.h"

#define LINK_HASH 16 /* bytes of the hash in a link's key */

struct walk {
    struct content *content;
    struct content_swept *swept;
    int64_t horizon_ms;
};

/* Does the message that the link stands for name the blob? 1 yes, 0 no or absent. */
static int message_names(struct content *c, struct slice link, int64_t *ret_time, struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct slice key = slice_skip(link, LINK_HASH);
    struct message_head head;
    int res = store_get(content_store(c), STORE_MESSAGES, &key, 1, STORE_HEAD, STORE_MAJORITY,
                        &docs, err);

    if (res < 0)
        return res;
    *ret_time = docs.time;
    if (!docs.items[0].found)
        return 0;
    res = message_head_parse(docs.items[0].head, &head, err);
    if (res < 0)
        return res;
    for (size_t i = 0; i + BLOB_HASH_SIZE <= head.blobs.n; i += BLOB_HASH_SIZE)
        if (memcmp(head.blobs.p + i, link.p, LINK_HASH) == 0)
            return 1;
    return 0;
}

/* Removes the dead ones. How many are left. */
static int scrub_links(struct walk *w, const struct store_docs *links, size_t *ret_left,
                       struct error *err)
{
    size_t left = links->n;

    for (size_t i = 0; i < links->n; i++) {
        int64_t now;
        int res;

        /* a young link is alive: its message may be on its way */
        if (links->time - links->items[i].stored_ms <= w->horizon_ms)
            continue;
        res = message_names(w->content, links->items[i].key, &now, err);
        if (res < 0)
            return res;
        if (res > 0 || now - links->items[i].stored_ms <= w->horizon_ms)
            continue;
        res =
            store_delete(content_store(w->content), STORE_BLOBLINKS, &links->items[i].key, 1, err);
        if (res < 0)
            return res;
        w->swept->links_removed++;
        left--;
    }
    *ret_left = left;
    return 0;
}

static int links_of(struct walk *w, const uint8_t *hash, struct store_docs *ret, struct error *err)
{
    struct store_query query = {.table = STORE_BLOBLINKS, .level = STORE_MAJORITY, .limit = 1000};
    uint8_t from[32] = {0}, to[32];

    memcpy(from, hash, LINK_HASH);
    memcpy(to, hash, LINK_HASH);
    memset(to + LINK_HASH, 0xff, sizeof to - LINK_HASH);
    query.from = slice_of(from, sizeof from);
    query.to = slice_of(to, sizeof to);
    return store_range(content_store(w->content), &query, ret, err);
}

/* A lost race or an unknown outcome is somebody's other turn. */
static int change(struct walk *w, const struct store_change *ch, uint64_t *count, struct error *err)
{
    int res = store_update(content_store(w->content), ch, NULL, NULL, err);

    if (res == 0)
        ++*count;
    return res == -ERR_CONFLICT || res == -ERR_UNKNOWN_OUTCOME ? 0 : res;
}

static int mark_or_delete(struct walk *w, const struct store_doc *blob, int64_t links_time,
                          struct error *err)
{
    struct store_change ch = {.table = STORE_BLOBS, .key = blob->key, .version = blob->version};
    CLEANUP(buf_done) struct buf head = buf_make(16);
    struct blob_head is;
    int res = blob_head_parse(blob->head, &is, err);

    if (res < 0)
        return res;
    if (is.dying) {
        if (links_time - blob->stored_ms <= w->horizon_ms)
            return 0;
        ch.remove = true;
        return change(w, &ch, &w->swept->deleted, err);
    }
    is.dying = true;
    blob_head_encode(&is, &head);
    ch.set_head = true;
    ch.head = buf_slice(&head);
    return change(w, &ch, &w->swept->marked, err);
}

/* One hash; blob is NULL where only links are. The blob was read before its links are. */
static int sweep_one(struct walk *w, const uint8_t *hash, const struct store_doc *blob,
                     struct error *err)
{
    CLEANUP(store_docs_done) struct store_docs links = {0};
    size_t left;
    int res = links_of(w, hash, &links, err);

    if (res < 0)
        return res;
    res = scrub_links(w, &links, &left, err);
    if (res < 0 || !blob || left || links.more)
        return res;
    return mark_or_delete(w, blob, links.time, err);
}

/* The first link at or after the hash; n = 0: none. */
static int next_link(struct walk *w, const uint8_t *from, struct store_docs *ret, struct error *err)
{
    struct store_query query = {
        .table = STORE_BLOBLINKS, .from = slice_of(from, 32), .limit = 1, .level = STORE_MAJORITY};

    return store_range(content_store(w->content), &query, ret, err);
}

/* The hash after this one, in the first 16 bytes; false past the last. */
static bool hash_step(uint8_t hash[32])
{
    memset(hash + LINK_HASH, 0, 32 - LINK_HASH);
    for (int i = LINK_HASH - 1; i >= 0; i--)
        if (++hash[i])
            return true;
    return false;
}

/* Links whose blob is not there, with hashes from *at up to (not including) `end` (NULL: all). */
static int sweep_stray_links(struct walk *w, uint8_t at[32], const uint8_t *end, size_t *budget,
                             struct error *err)
{
    while (*budget) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int res = next_link(w, at, &docs, err);

        if (res < 0)
            return res;
        if (!docs.n || (end && memcmp(docs.items[0].key.p, end, LINK_HASH) >= 0))
            return 0;
        memset(at, 0, 32);
        memcpy(at, docs.items[0].key.p, LINK_HASH);
        res = sweep_one(w, at, NULL, err);
        if (res < 0)
            return res;
        --*budget;
        if (!hash_step(at))
            return 0;
    }
    return 1;
}

int content_sweep(struct content *c, uint8_t cursor[32], size_t limit, struct content_swept *swept,
                  struct error *err)
{
    struct walk w = {c, swept, content_settings(c)->horizon_ms};
    CLEANUP(store_docs_done) struct store_docs blobs = {0};
    struct store_query query = {.table = STORE_BLOBS,
                                .from = slice_of(cursor, 32),
                                .limit = limit,
                                .parts = STORE_HEAD,
                                .level = STORE_MAJORITY};
    size_t budget = limit;
    int res = store_range(content_store(c), &query, &blobs, err);

    if (res < 0)
        return res;
    content_heard(c, blobs.time);
    for (size_t i = 0; i < blobs.n; i++) {
        const uint8_t *hash = blobs.items[i].key.p;

        res = sweep_stray_links(&w, cursor, hash, &budget, err);
        if (res != 0)
            return res;
        res = sweep_one(&w, hash, &blobs.items[i], err);
        if (res < 0)
            return res;
        swept->blobs_seen++;
        memcpy(cursor, hash, 32);
        if (!hash_step(cursor))
            return 0;
    }
    if (blobs.more)
        return 1;
    res = sweep_stray_links(&w, cursor, NULL, &budget, err);
    if (res == 0)
        memset(cursor, 0, 32);
    return res;
}
