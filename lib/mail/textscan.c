/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/textscan.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"

#define CHUNK ((size_t)64 << 10)

enum piece_state { PIECE_WAITS, PIECE_WORKS, PIECE_DONE };

struct piece {
    size_t first, end; /* messages, [first, end) */
    enum piece_state state;
};

struct result {
    int r; /* 0, or -ERR_x */
    uint64_t found;
};

struct helper {
    struct pool_job job;
    struct textscan *scan;
};

/* Owned by the caller and by each helper that is queued or works. */
struct textscan {
    struct account *account; /* a reference */
    pthread_mutex_t lock;    /* pieces' states, next, refs, error */
    pthread_cond_t done;     /* a piece is */
    unsigned refs;
    _Atomic bool cancelled;
    struct slice *keys;
    enum text_where *where;
    size_t n_keys;
    struct piece *pieces;
    size_t n_pieces, next; /* pieces from `next` on wait */
    uint64_t *ids;
    uint32_t *piece_of;     /* by message */
    struct result *results; /* by message; a piece's are its worker's until it is done */
    struct error error;     /* why one could not be read */
    struct helper helpers[TEXTSCAN_HELPERS];
};

static void scan_unref(struct textscan *s)
{
    bool last;

    pthread_mutex_lock(&s->lock);
    last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    account_unref(s->account);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    for (size_t i = 0; i < s->n_keys; i++)
        free((void *)s->keys[i].p);
    free(s->keys);
    free(s->where);
    free(s->pieces);
    free(s->ids);
    free(s->piece_of);
    free(s->results);
    free(s);
}

/* --- looking ------------------------------------------------------------------------------------
 */

static int feed(struct message_reader *reader, struct text_search *search, struct buf *chunk,
                struct error *err)
{
    uint64_t size = message_size(reader);

    for (uint64_t at = 0; at < size && !text_search_done(search); at += CHUNK) {
        int r;

        buf_reset(chunk, CHUNK * 2);
        r = message_read(reader, at, CHUNK, chunk, err);
        if (r < 0)
            return r;
        text_search_feed(search, buf_slice(chunk));
    }
    return 0;
}

static int look_through(struct textscan *s, uint64_t id, struct buf *chunk, uint64_t *ret_found,
                        struct error *err)
{
    struct text_search *search;
    struct message_reader *reader;
    int r = message_open(s->account, id, &reader, err);

    if (r < 0)
        return r;
    search = text_search_new(s->keys, s->where, s->n_keys);
    r = feed(reader, search, chunk, err);
    if (r == 0)
        *ret_found = text_search_finish(search);
    text_search_free(search);
    message_close(reader);
    return r;
}

static void note_error(struct textscan *s, const struct error *err)
{
    pthread_mutex_lock(&s->lock);
    s->error = *err;
    pthread_mutex_unlock(&s->lock);
}

/* What the read of all does not bring, message_open looks for again, or says why not. */
static void work(struct textscan *s, const struct piece *p)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(BUF_MAX_DEFAULT);
    struct hold *hold = NULL;

    if (message_read_ahead(s->account, s->ids + p->first, p->end - p->first, &hold, NULL) < 0)
        hold = NULL;
    for (size_t i = p->first; i < p->end && !atomic_load(&s->cancelled); i++) {
        struct error err = {0};

        s->results[i].r = look_through(s, s->ids[i], &chunk, &s->results[i].found, &err);
        if (s->results[i].r < 0)
            note_error(s, &err);
    }
    hold_release(hold);
}

/* With the lock held; NULL: all have been begun. */
static struct piece *take_piece(struct textscan *s)
{
    struct piece *p;

    if (s->next == s->n_pieces)
        return NULL;
    p = &s->pieces[s->next++];
    p->state = PIECE_WORKS;
    return p;
}

/* With the lock held, which is let go of meanwhile. */
static void work_unlocked(struct textscan *s, struct piece *p)
{
    pthread_mutex_unlock(&s->lock);
    work(s, p);
    pthread_mutex_lock(&s->lock);
    p->state = PIECE_DONE;
    pthread_cond_broadcast(&s->done);
}

/* --- helpers ------------------------------------------------------------------------------------
 */

static void run_helper(struct pool_job *job)
{
    struct helper *h = CONTAINER_OF(job, struct helper, job);
    struct textscan *s = h->scan;
    struct piece *p;

    pthread_mutex_lock(&s->lock);
    p = take_piece(s);
    if (p)
        work_unlocked(s, p);
    pthread_mutex_unlock(&s->lock);
    if (p)
        mail_submit_scan(s->account->mail, &h->job); /* others have their turn */
    else
        scan_unref(s);
}

/* One fewer than pieces and than cores, since the caller works too; who waits for a store needs no
 * core. */
static size_t helpers_wanted(const struct textscan *s)
{
    size_t cores = store_is_atomic(s->account->mail->store) ? pool_cores() : TEXTSCAN_HELPERS + 1;
    size_t most = MIN(MIN(cores, s->n_pieces), (size_t)TEXTSCAN_HELPERS + 1);

    return most && !s->account->mail->stepped ? most - 1 : 0;
}

static void start_helpers(struct textscan *s)
{
    size_t n = helpers_wanted(s);

    s->refs += (unsigned)n; /* nobody else has it yet */
    for (size_t i = 0; i < n; i++) {
        s->helpers[i].job.run = run_helper;
        s->helpers[i].scan = s;
        mail_submit_scan(s->account->mail, &s->helpers[i].job);
    }
}

/* --- the caller ---------------------------------------------------------------------------------
 */

static void cut(struct textscan *s, const struct textscan_message *messages, size_t n)
{
    size_t most = store_is_atomic(s->account->mail->store) ? TEXTSCAN_PIECE : TEXTSCAN_PIECE_AWAY;
    uint64_t bytes = 0;

    for (size_t i = 0; i < n; i++) {
        struct piece *p = s->n_pieces ? &s->pieces[s->n_pieces - 1] : NULL;

        if (!p || p->end - p->first == most || bytes + messages[i].size > TEXTSCAN_PIECE_BYTES) {
            p = &s->pieces[s->n_pieces++];
            p->first = i;
            bytes = 0;
        }
        p->end = i + 1;
        bytes += messages[i].size;
        s->ids[i] = messages[i].id;
        s->piece_of[i] = (uint32_t)(s->n_pieces - 1);
    }
}

struct textscan *textscan_begin(struct account *account, const struct slice *keys,
                                const enum text_where *where, size_t n_keys,
                                const struct textscan_message *messages, size_t n)
{
    struct textscan *s = NEW(struct textscan);

    s->account = account_ref(account);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->done, NULL);
    s->refs = 1;
    s->n_keys = n_keys;
    s->keys = NEW_ARRAY(struct slice, n_keys);
    s->where = NEW_ARRAY(enum text_where, n_keys);
    for (size_t i = 0; i < n_keys; i++) {
        s->keys[i] = slice_of(mem_dup(keys[i].p, keys[i].n), keys[i].n);
        s->where[i] = where[i];
    }
    s->pieces = NEW_ARRAY(struct piece, n);
    s->ids = NEW_ARRAY(uint64_t, n);
    s->piece_of = NEW_ARRAY(uint32_t, n);
    s->results = NEW_ARRAY(struct result, n);
    cut(s, messages, n);
    start_helpers(s);
    return s;
}

/* With the lock held. False: it is `until`. */
static bool await_piece(struct textscan *s, const struct piece *wanted, int64_t until)
{
    while (wanted->state != PIECE_DONE) {
        struct piece *p;

        if (clock_mono_ms() >= until)
            return false;
        p = take_piece(s);
        if (p)
            work_unlocked(s, p);
        else
            pthread_cond_wait(&s->done, &s->lock);
    }
    return true;
}

int textscan_get(struct textscan *s, size_t i, int64_t until, uint64_t *ret_found,
                 struct error *err)
{
    const struct result *result = &s->results[i];
    bool done;

    pthread_mutex_lock(&s->lock);
    done = await_piece(s, &s->pieces[s->piece_of[i]], until);
    if (done && result->r < 0 && err)
        *err = s->error;
    pthread_mutex_unlock(&s->lock);
    if (!done)
        return 0;
    if (result->r < 0)
        return result->r;
    *ret_found = result->found;
    return 1;
}

void textscan_free(struct textscan *s)
{
    if (!s)
        return;
    atomic_store(&s->cancelled, true);
    pthread_mutex_lock(&s->lock);
    s->next = s->n_pieces;
    pthread_mutex_unlock(&s->lock);
    scan_unref(s);
}
