/* SPDX-License-Identifier: MPL-2.0 */
/* Per mailbox an arena with the keys, and a table from uids to them in pages of PAGE uids, which
 * are sparse enough where uids are. Both only grow; they go as a whole. */
#include "lib/mail/sortkeys.h"

#include <sys/queue.h>
#include <uthash.h>

#include "lib/base/arena.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/message.h"
#include "lib/mime/header.h"
#include "lib/mime/text.h"

#define PAGE 64u
/* A subject of the digest that is as long as this may be cut: the field itself is looked at. */
#define SUBJECT_CUT 250

struct page {
    uint32_t number; /* uid / PAGE */
    const struct sortkeys *at[PAGE];
};

struct sortkeys_mailbox {
    struct {
        uint64_t account, mailbox;
    } key;
    struct sortkeys_cache *cache;
    unsigned refs;  /* guarded by the cache's mutex, as are counted and lru */
    size_t counted; /* bytes that the cache knows of */
    TAILQ_ENTRY(sortkeys_mailbox) lru;
    UT_hash_handle hh;

    pthread_mutex_t mutex; /* guards what follows */
    struct arena arena;
    VEC(struct page *) pages; /* by number */
};

TAILQ_HEAD(sortkeys_list, sortkeys_mailbox);
struct sortkeys_cache {
    pthread_mutex_t mutex;
    struct sortkeys_mailbox *table;
    struct sortkeys_list idle; /* nobody has them open; the last used first */
    size_t bytes, max;         /* of the idle ones */
};

struct sortkeys_cache *sortkeys_cache_new(size_t bytes)
{
    struct sortkeys_cache *c = NEW(struct sortkeys_cache);

    pthread_mutex_init(&c->mutex, NULL);
    TAILQ_INIT(&c->idle);
    c->max = bytes;
    return c;
}

static void drop(struct sortkeys_cache *c, struct sortkeys_mailbox *s)
{
    TAILQ_REMOVE(&c->idle, s, lru);
    HASH_DEL(c->table, s);
    c->bytes -= s->counted;
    for (size_t i = 0; i < s->pages.n; i++)
        free(s->pages.items[i]);
    VEC_DONE(&s->pages);
    arena_done(&s->arena);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

void sortkeys_cache_free(struct sortkeys_cache *c)
{
    if (!c)
        return;
    while (!TAILQ_EMPTY(&c->idle))
        drop(c, TAILQ_FIRST(&c->idle));
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

struct sortkeys_mailbox *sortkeys_open(struct account *account, uint64_t mailbox)
{
    struct sortkeys_cache *c = account_mail(account)->sortkeys;
    struct sortkeys_mailbox probe = {.key = {account_id(account), mailbox}}, *s;

    pthread_mutex_lock(&c->mutex);
    HASH_FIND(hh, c->table, &probe.key, sizeof probe.key, s);
    if (!s) {
        s = NEW(struct sortkeys_mailbox);
        s->key = probe.key;
        s->cache = c;
        pthread_mutex_init(&s->mutex, NULL);
        HASH_ADD(hh, c->table, key, sizeof s->key, s);
    } else if (!s->refs) {
        TAILQ_REMOVE(&c->idle, s, lru);
        c->bytes -= s->counted;
    }
    s->refs++;
    pthread_mutex_unlock(&c->mutex);
    return s;
}

void sortkeys_close(struct sortkeys_mailbox *s)
{
    struct sortkeys_cache *c;

    if (!s)
        return;
    c = s->cache;
    pthread_mutex_lock(&c->mutex);
    if (!--s->refs) {
        s->counted = sizeof *s + s->arena.used + s->pages.n * (sizeof(struct page) + 8);
        c->bytes += s->counted;
        TAILQ_INSERT_HEAD(&c->idle, s, lru);
    }
    while (c->bytes > c->max && !TAILQ_EMPTY(&c->idle))
        drop(c, TAILQ_LAST(&c->idle, sortkeys_list));
    pthread_mutex_unlock(&c->mutex);
}

/* --- making ------------------------------------------------------------------------------------
 */

struct maker {
    struct buf texts, work;
    VEC(uint64_t) ids;
    struct sortkeys k;
};

static uint64_t id_hash(struct slice id)
{
    uint64_t hash = hash_keyed(id);

    return id.n ? MAX(hash, (uint64_t)1) : 0;
}

static void make_ids(struct maker *m, const struct mdigest *d)
{
    struct slice rest = d->references.n ? d->references : d->in_reply_to, id;
    ssize_t end;

    *VEC_PUSH(&m->ids) = id_hash(d->message_id);
    for (; rest.n; rest = slice_skip(rest, id.n + 1)) {
        end = slice_find(rest, ' ');
        id = end < 0 ? rest : slice_sub(rest, 0, (size_t)end);
        if (id.n)
            *VEC_PUSH(&m->ids) = id_hash(id);
    }
    m->k.n_references = (uint32_t)m->ids.n - 1;
}

static void make_subject(struct maker *m, const struct mdigest *d)
{
    struct slice whole;
    size_t decoded;

    if (d->subject.n < SUBJECT_CUT || !mdigest_field_value(d, S("Subject"), &whole)) {
        text_casemap(&m->texts, d->base_subject);
        return;
    }
    m->work.n = 0;
    header_decode(&m->work, whole);
    decoded = m->work.n;
    subject_base(&m->work, slice_trim(slice_of(m->work.p, decoded)));
    text_casemap(&m->texts, slice_skip(buf_slice(&m->work), decoded));
}

static void make_texts(struct maker *m, const struct mdigest *d)
{
    const struct slice others[] = {
        [SORTKEY_FROM] = d->from_mailbox,    [SORTKEY_TO] = d->to_mailbox,
        [SORTKEY_CC] = d->cc_mailbox,        [SORTKEY_DISPLAYFROM] = d->from_display,
        [SORTKEY_DISPLAYTO] = d->to_display,
    };

    make_subject(m, d);
    m->k.ends[SORTKEY_SUBJECT] = (uint32_t)m->texts.n;
    for (size_t i = SORTKEY_SUBJECT + 1; i < SORTKEYS_; i++) {
        text_casemap(&m->texts, others[i]);
        m->k.ends[i] = (uint32_t)m->texts.n;
    }
}

static void make(struct maker *m, struct slice digest)
{
    struct mdigest d;

    m->texts.n = 0;
    m->ids.n = 0;
    m->k = (struct sortkeys){0};
    if (mdigest_open(&d, digest) < 0)
        d = (struct mdigest){0};
    m->k.has_sent = d.has_date;
    m->k.sent = d.date;
    m->k.is_reply = d.is_reply;
    make_ids(m, &d);
    make_texts(m, &d);
}

static void maker_done(struct maker *m)
{
    buf_done(&m->texts);
    buf_done(&m->work);
    VEC_DONE(&m->ids);
}

/* --- the table -----------------------------------------------------------------------------------
 */

static size_t page_search(const struct sortkeys_mailbox *s, uint32_t number)
{
    size_t low = 0, high = s->pages.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->pages.items[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct sortkeys *find(const struct sortkeys_mailbox *s, uint32_t uid)
{
    size_t i = page_search(s, uid / PAGE);

    if (i == s->pages.n || s->pages.items[i]->number != uid / PAGE)
        return NULL;
    return s->pages.items[i]->at[uid % PAGE];
}

static const struct sortkeys **place(struct sortkeys_mailbox *s, uint32_t uid)
{
    size_t i = page_search(s, uid / PAGE);
    struct page *page;

    if (i == s->pages.n || s->pages.items[i]->number != uid / PAGE) {
        page = NEW(struct page);
        page->number = uid / PAGE;
        (void)VEC_PUSH(&s->pages);
        memmove(s->pages.items + i + 1, s->pages.items + i,
                (s->pages.n - 1 - i) * sizeof *s->pages.items);
        s->pages.items[i] = page;
    }
    return &s->pages.items[i]->at[uid % PAGE];
}

/* Keeps what was made, unless another was quicker. */
static const struct sortkeys *keep(struct sortkeys_mailbox *s, uint32_t uid, const struct maker *m)
{
    const struct sortkeys **at = place(s, uid);
    struct sortkeys *k;

    if (*at)
        return *at;
    k = arena_raw(&s->arena, sizeof *k + m->ids.n * sizeof k->ids[0] + m->texts.n);
    *k = m->k;
    memcpy(k->ids, m->ids.items, m->ids.n * sizeof k->ids[0]);
    if (m->texts.n)
        memcpy(k->ids + m->ids.n, m->texts.p, m->texts.n);
    *at = k;
    return k;
}

static size_t look(struct sortkeys_mailbox *s, const struct message *const *messages, size_t n,
                   const struct sortkeys **ret, uint32_t *ret_missing)
{
    size_t missing = 0;

    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < n; i++) {
        ret[i] = find(s, messages[i]->uid);
        if (!ret[i])
            ret_missing[missing++] = (uint32_t)i;
    }
    pthread_mutex_unlock(&s->mutex);
    return missing;
}

int sortkeys_get(struct sortkeys_mailbox *s, struct account *account,
                 const struct message *const *messages, size_t n, const struct sortkeys **ret,
                 struct error *err)
{
    CLEANUP(maker_done) struct maker m = {buf_make(BUF_MAX_DEFAULT), buf_make(BUF_MAX_DEFAULT)};
    uint32_t missing[SORTKEYS_AT_ONCE];
    uint64_t ids[SORTKEYS_AT_ONCE];
    struct slice digests[SORTKEYS_AT_ONCE];
    struct hold *hold = NULL;
    size_t n_missing = look(s, messages, n, ret, missing);
    int r;

    if (!n_missing)
        return 0;
    for (size_t i = 0; i < n_missing; i++)
        ids[i] = messages[missing[i]]->id;
    r = message_digests(account, ids, n_missing, digests, &hold, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_missing; i++) {
        make(&m, digests[i]);
        pthread_mutex_lock(&s->mutex);
        ret[missing[i]] = keep(s, messages[missing[i]]->uid, &m);
        pthread_mutex_unlock(&s->mutex);
    }
    hold_release(hold);
    return 0;
}
