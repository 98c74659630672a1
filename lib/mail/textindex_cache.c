/* SPDX-License-Identifier: MPL-2.0 */
/* Documents of the text index in memory and from the store.
 *
 * They never change under their key, so any member of a replica set may answer; one that is not
 * there yet is asked for again, and then taken for absent: that costs a search time, and no more.
 */
#include "lib/base/mem.h"
#include "lib/mail/textindex_impl.h"

struct textindex *textindex_new(size_t max_bytes)
{
    struct textindex *t = NEW(struct textindex);

    pthread_mutex_init(&t->mutex, NULL);
    TAILQ_INIT(&t->lru);
    t->max = max_bytes;
    return t;
}

static void doc_unref(struct textindex_doc *d)
{
    if (--d->refs)
        return;
    textindex_head_done(&d->head);
    free((void *)d->bytes.p);
    free(d);
}

static void doc_remove(struct textindex *t, struct textindex_doc *d)
{
    HASH_DEL(t->table, d);
    TAILQ_REMOVE(&t->lru, d, lru);
    t->bytes -= d->size;
    doc_unref(d);
}

void textindex_free(struct textindex *t)
{
    if (!t)
        return;
    while (!TAILQ_EMPTY(&t->lru))
        doc_remove(t, TAILQ_FIRST(&t->lru));
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

void textindex_release(struct mail *mail, struct textindex_doc *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&mail->textindex->mutex);
    doc_unref(d);
    pthread_mutex_unlock(&mail->textindex->mutex);
}

static struct textindex_doc *doc_get(struct textindex *t, const struct key20 *key)
{
    struct textindex_doc *d;

    pthread_mutex_lock(&t->mutex);
    HASH_FIND(hh, t->table, key, sizeof *key, d);
    if (d) {
        d->refs++;
        TAILQ_REMOVE(&t->lru, d, lru);
        TAILQ_INSERT_HEAD(&t->lru, d, lru);
    }
    pthread_mutex_unlock(&t->mutex);
    return d;
}

/* Holds d for the caller; drops what there is no room for. */
static void doc_keep(struct textindex *t, struct textindex_doc *d)
{
    struct textindex_doc *old;

    pthread_mutex_lock(&t->mutex);
    HASH_FIND(hh, t->table, &d->key, sizeof d->key, old);
    if (old)
        doc_remove(t, old);
    d->refs++;
    HASH_ADD(hh, t->table, key, sizeof d->key, d);
    TAILQ_INSERT_HEAD(&t->lru, d, lru);
    t->bytes += d->size;
    while (t->bytes > t->max && !TAILQ_EMPTY(&t->lru))
        doc_remove(t, TAILQ_LAST(&t->lru, textindex_lru));
    pthread_mutex_unlock(&t->mutex);
}

static struct textindex_doc *doc_new(const struct key20 *key, const struct textindex_id *id,
                                     struct slice bytes, int *ret_why)
{
    struct textindex_doc *d = NEW(struct textindex_doc);
    int r;

    d->key = *key;
    d->refs = 1;
    if (id->part == TEXTINDEX_HEAD)
        r = textindex_head_decode(bytes, id->segment, &d->head);
    else
        r = textindex_part_check(bytes, id->segment, id->part);
    if (r < 0) {
        *ret_why = r;
        free(d);
        return NULL;
    }
    if (id->part != TEXTINDEX_HEAD)
        d->bytes = slice_of(mem_dup(bytes.p, bytes.n), bytes.n);
    d->size = sizeof *d + d->bytes.n + d->head.n * sizeof *d->head.ids;
    return d;
}

/* Documents that are not in memory, at most TEXTINDEX_AT_ONCE: those at the places `at`. */
static int read_some(struct mail *mail, uint64_t account, const struct textindex_id *ids,
                     const size_t *at, size_t n, enum store_level level,
                     struct textindex_doc **docs, int *why, struct error *err)
{
    struct key20 keys[TEXTINDEX_AT_ONCE];
    struct slice slices[TEXTINDEX_AT_ONCE] = {0};
    CLEANUP(store_docs_done) struct store_docs found = {0};
    int r;

    for (size_t i = 0; i < n; i++) {
        keys[i] = key_textindex(account, ids[at[i]].part, ids[at[i]].segment);
        slices[i] = KEY_SLICE(keys[i]);
    }
    r = store_get(mail->store, STORE_TEXTINDEX, slices, n, STORE_HEAD, level, &found, err);
    for (size_t i = 0; i < n && r == 0; i++) {
        why[at[i]] = -ERR_NOTFOUND;
        if (found.items[i].found)
            docs[at[i]] = doc_new(&keys[i], &ids[at[i]], found.items[i].head, &why[at[i]]);
    }
    return r;
}

static int read_batch(struct mail *mail, uint64_t account, const struct textindex_id *ids,
                      const size_t *at, size_t n, struct textindex_doc **docs, int *why,
                      struct error *err)
{
    size_t absent[TEXTINDEX_AT_ONCE], m = 0;
    int r = read_some(mail, account, ids, at, n, STORE_ANY, docs, why, err);

    for (size_t i = 0; i < n && r == 0; i++)
        if (!docs[at[i]] && why[at[i]] == -ERR_NOTFOUND)
            absent[m++] = at[i];
    if (r == 0 && m)
        r = read_some(mail, account, ids, absent, m, STORE_MAJORITY, docs, why, err);
    return r;
}

int textindex_load(struct mail *mail, uint64_t account, const struct textindex_id *ids, size_t n,
                   bool cached, struct textindex_doc **docs, int *ret_why, struct error *err)
{
    CLEANUP_FREE int *why = NEW_ARRAY(int, n + 1);
    size_t at[TEXTINDEX_AT_ONCE], m = 0;
    int r = 0;

    memset(docs, 0, n * sizeof *docs);
    for (size_t i = 0; i < n && r == 0; i++) {
        struct key20 key = key_textindex(account, ids[i].part, ids[i].segment);

        docs[i] = cached ? doc_get(mail->textindex, &key) : NULL;
        if (!docs[i])
            at[m++] = i;
        if (m && (m == TEXTINDEX_AT_ONCE || i + 1 == n)) {
            r = read_batch(mail, account, ids, at, m, docs, why, err);
            for (size_t k = 0; k < m && cached; k++)
                if (docs[at[k]])
                    doc_keep(mail->textindex, docs[at[k]]);
            m = 0;
        }
    }
    for (size_t i = 0; i < n && r < 0; i++)
        textindex_release(mail, TAKE(docs[i]));
    if (ret_why)
        memcpy(ret_why, why, n * sizeof *why);
    return r;
}

void textindex_segments_done(struct textindex_segments *s)
{
    VEC_DONE(s);
}

int textindex_segments(struct mail *mail, uint64_t account, enum store_level level,
                       struct textindex_segments *ret, struct error *err)
{
    struct key20 from = key_textindex(account, TEXTINDEX_HEAD, 0);
    struct key20 to = key_textindex(account, TEXTINDEX_HEAD + 1, 0);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = store_range(mail->store,
                        &(struct store_query){.table = STORE_TEXTINDEX,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .parts = STORE_KEYS,
                                              .level = level},
                        &docs, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < docs.n; i++)
        *VEC_PUSH(ret) = get_be64(docs.items[i].key.p + 12);
    return 0;
}
