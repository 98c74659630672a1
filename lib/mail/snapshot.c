/* SPDX-License-Identifier: MPL-2.0 */
/* Snapshots: loading, saving, trimming. See snapshot.h; docs/log.md section 5 for the argument.
 *
 * A segment that the newest manifest no longer names is kept for a while, so that sessions which
 * show an older version of a mailbox can still load it: until the manifest that did without it, or
 * its own successor, is SEGMENT_GRACE old. That is kindness, not safety: whoever misses a segment
 * opens the account again.
 */
#include "lib/mail/snapshot.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mail/snapshot_format.h"
#include "lib/mail/textindex.h"
#include "lib/store/keys.h"

#define LOAD_BATCH         64 /* segments in one read or insert, about 10 MB at most */
#define STORE_TRIES        3
#define SAVE_PAUSE_MS      5000 /* after a failure */
#define SEGMENT_GRACE_PART 24   /* of the horizon: an hour */

/* --- loading --------------------------------------------------------------------------------- */

/* The manifest as it stands in the store; m is NULL if there is none. */
struct stored_manifest {
    struct manifest *m;
    bool stored; /* there is one, even if it cannot be read */
    uint64_t version;
    int64_t stored_ms; /* of the manifest */
    int64_t time;      /* of the reply */
};

static void stored_manifest_done(struct stored_manifest *s)
{
    manifest_free(s->m);
}

static int read_manifest(struct mail *mail, uint64_t account, enum store_level level,
                         struct stored_manifest *ret, struct error *err)
{
    struct key8 key = key_account(account);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = store_get(mail->store, STORE_SNAPSHOTS, (struct slice[]){KEY_SLICE(key)}, 1, STORE_BOTH,
                      level, &docs, err);

    if (r < 0)
        return r;
    mail_heard(mail, docs.time);
    ret->time = docs.time;
    if (!docs.items[0].found)
        return 0;
    ret->stored = true;
    ret->version = docs.items[0].version;
    ret->stored_ms = docs.items[0].stored_ms;
    return manifest_decode(account, docs.items[0].head, docs.items[0].body, &ret->m, err);
}

int snapshot_load(struct mail *mail, uint64_t account, enum store_level level,
                  struct state **ret_st, int64_t *ret_time, struct error *err)
{
    CLEANUP(stored_manifest_done) struct stored_manifest s = {0};
    int r = read_manifest(mail, account, level, &s, err);

    if (r < 0)
        return r;
    *ret_st = s.m ? state_from_manifest(s.m) : state_new_empty(account);
    *ret_time = s.time;
    return 0;
}

struct segment_refs {
    struct segment_ref *items;
    size_t n, cap;
};

static void segment_refs_done(struct segment_refs *refs)
{
    VEC_DONE(refs);
}

static void add_missing(struct segment_refs *refs, const struct mailbox *box,
                        const struct load_range *range)
{
    size_t n = mailbox_missing(box, range->first, range->last, NULL, 0);

    VEC_RESERVE(refs, refs->n + n);
    n = MIN(n, mailbox_missing(box, range->first, range->last, refs->items + refs->n, n));
    refs->n += n;
}

/* One read of at most LOAD_BATCH segments; what one member does not have yet, the primary has. */
static int load_batch(struct mail *mail, const struct state *st, const struct segment_ref *refs,
                      size_t n, enum store_level level, struct segment_refs *absent,
                      struct error *err)
{
    struct key28 keys[LOAD_BATCH];
    struct slice slices[LOAD_BATCH];
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r;

    for (size_t i = 0; i < n; i++) {
        keys[i] = key_segment(st->account, refs[i].mailbox, refs[i].first, refs[i].stamp);
        slices[i] = KEY_SLICE(keys[i]);
    }
    r = store_get(mail->store, STORE_SEGMENTS, slices, n, STORE_HEAD, level, &docs, err);
    for (size_t i = 0; i < n && r == 0; i++) {
        if (docs.items[i].found)
            r = segment_attach(state_mailbox(st, refs[i].mailbox), &refs[i], docs.items[i].head,
                               err);
        else
            *VEC_PUSH(absent) = refs[i];
    }
    return r;
}

static int load_refs(struct mail *mail, const struct state *st, const struct segment_refs *refs,
                     enum store_level level, struct segment_refs *absent, struct error *err)
{
    for (size_t i = 0; i < refs->n; i += LOAD_BATCH) {
        int r = load_batch(mail, st, refs->items + i, MIN(refs->n - i, (size_t)LOAD_BATCH), level,
                           absent, err);

        if (r < 0)
            return r;
    }
    return 0;
}

int snapshot_load_segments(struct mail *mail, const struct state *st,
                           const struct load_range *ranges, size_t n, struct error *err)
{
    CLEANUP(segment_refs_done) struct segment_refs refs = {0}, absent = {0}, gone = {0};
    int r;

    for (size_t i = 0; i < n; i++) {
        const struct mailbox *box = state_mailbox(st, ranges[i].mailbox);

        if (box)
            add_missing(&refs, box, &ranges[i]);
    }
    r = load_refs(mail, st, &refs, STORE_ANY, &absent, err);
    if (r == 0 && absent.n)
        r = load_refs(mail, st, &absent, STORE_MAJORITY, &gone, err);
    if (r == 0 && gone.n)
        r = error_set(err, ERR_CONFLICT, "%zu segments are no longer stored", gone.n);
    return r;
}

int snapshot_load_mailbox(struct mail *mail, uint64_t account, const struct mailbox *box,
                          const struct load_range *ranges, size_t n, struct error *err)
{
    /* the state of an account that has this mailbox alone */
    struct mailbox *boxes[] = {(struct mailbox *)box};
    const struct state st = {.account = account, .mailboxes = boxes, .n_mailboxes = 1};

    return snapshot_load_segments(mail, &st, ranges, n, err);
}

int snapshot_load_all(struct mail *mail, const struct state *st, struct error *err)
{
    for (size_t i = 0; i < st->n_mailboxes; i++) {
        struct load_range range = {st->mailboxes[i]->id, 0, UINT32_MAX};
        int r = snapshot_load_segments(mail, st, &range, 1, err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* --- saving ---------------------------------------------------------------------------------- */

/* Merges small segments where that is cheap. Consumes st. */
static int compact(struct mail *mail, struct state **st, struct error *err)
{
    struct needs needs = {.n = 0};
    struct state *compacted;
    int r = 0;

    state_compact_needs(*st, needs_note, &needs);
    if (needs.n)
        r = snapshot_load_segments(mail, *st, needs.ranges, needs.n, err);
    if (r < 0)
        return r;
    compacted = state_compact(*st);
    state_unref(*st);
    *st = compacted;
    return 0;
}

static int plan_all(struct mail *mail, struct state *st, const struct manifest *current,
                    struct snapshot_plan *plan, struct error *err)
{
    uint32_t random;

    random_bytes(&random, sizeof random);
    for (;;) {
        struct segment_ref missing;
        int r = snapshot_plan(st, current, random, plan, &missing, err);

        if (r != -ERR_UNAVAILABLE)
            return r;
        r = snapshot_load_segments(
            mail, st, &(struct load_range){missing.mailbox, missing.first, missing.last}, 1, err);
        if (r < 0)
            return r;
    }
}

/* A taken key proves nothing: are these bytes there, and durably? */
static bool segment_is_stored(struct mail *mail, const struct store_item *item)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    return store_get(mail->store, STORE_SEGMENTS, &item->key, 1, STORE_HEAD, STORE_MAJORITY, &docs,
                     NULL) == 0 &&
           docs.items[0].found && slice_eq(docs.items[0].head, item->head);
}

static int insert_segments(struct mail *mail, struct store_item *items, size_t n, struct error *err)
{
    for (int i = 0; i < STORE_TRIES && n; i++) {
        int64_t time;
        size_t left = 0;
        int r = store_insert(mail->store, items, n, &time, err);

        if (r < 0 && r != -ERR_UNKNOWN_OUTCOME)
            return r;
        for (size_t k = 0; k < n; k++)
            if (items[k].outcome != STORE_DONE &&
                !(items[k].outcome == STORE_TAKEN && segment_is_stored(mail, &items[k])))
                items[left++] = items[k];
        n = left;
    }
    return n ? error_set(err, ERR_UNAVAILABLE, "segments could not be stored") : 0;
}

/* Changed segments, a batch at a time: at most LOAD_BATCH of them are in memory as bytes. */
static int write_segments(struct mail *mail, const struct snapshot_plan *plan, struct error *err)
{
    struct store_item items[LOAD_BATCH];
    struct key28 keys[LOAD_BATCH];
    struct buf bytes[LOAD_BATCH];
    size_t n = 0, i = 0;
    int r = 0;

    while (i < plan->n && r == 0) {
        for (; i < plan->n && n < LOAD_BATCH; i++) {
            const struct segment_ref *ref = &plan->items[i].ref;

            if (!plan->items[i].write)
                continue;
            keys[n] = key_segment(plan->st->account, ref->mailbox, ref->first, ref->stamp);
            bytes[n] = buf_make(STORE_HEAD_MAX);
            segment_encode(plan, &plan->items[i], &bytes[n]);
            items[n] = (struct store_item){
                .table = STORE_SEGMENTS, .key = KEY_SLICE(keys[n]), .head = buf_slice(&bytes[n])};
            n++;
        }
        if (n)
            r = insert_segments(mail, items, n, err);
        while (n)
            buf_done(&bytes[--n]);
    }
    return r;
}

/* One older snapshot is remembered until it is old enough to trim below; then the one being
 * replaced takes its place. */
static struct manifest_mark next_mark(struct mail *mail, const struct stored_manifest *old)
{
    struct manifest_mark mark;

    if (!old->m)
        return (struct manifest_mark){0, 0};
    mark = manifest_older(old->m);
    if (mark.seq && old->time - mark.time <= mail->settings.horizon_ms)
        return mark;
    return (struct manifest_mark){manifest_seq(old->m), old->stored_ms};
}

/* In place of `old` and of no other. */
static int write_manifest(struct mail *mail, const struct snapshot_plan *plan,
                          const struct stored_manifest *old, struct manifest_mark mark,
                          struct error *err)
{
    struct key8 key = key_account(plan->st->account);
    CLEANUP(buf_done) struct buf head = buf_make(STORE_BODY_MAX), body = buf_make(STORE_BODY_MAX);
    struct store_item item;
    int64_t time;
    int r = manifest_encode(plan, mark, &head, &body, err);

    if (r < 0)
        return r;
    if (old->stored)
        return store_update(mail->store,
                            &(struct store_change){.table = STORE_SNAPSHOTS,
                                                   .key = KEY_SLICE(key),
                                                   .version = old->version,
                                                   .set_head = true,
                                                   .set_body = true,
                                                   .head = buf_slice(&head),
                                                   .body = buf_slice(&body)},
                            NULL, &time, err);
    item = (struct store_item){.table = STORE_SNAPSHOTS,
                               .key = KEY_SLICE(key),
                               .head = buf_slice(&head),
                               .body = buf_slice(&body)};
    r = store_insert(mail->store, &item, 1, &time, err);
    if (r == 0 && item.outcome != STORE_DONE)
        r = error_set(err, ERR_CONFLICT, "another node saved first");
    return r;
}

static void note_saved(struct account *a, struct state *before, struct state *after, uint64_t seq)
{
    pthread_mutex_lock(&a->lock);
    a->saved_seq = MAX(a->saved_seq, seq);
    if (after && a->st == before && before != after) {
        a->st = state_ref(after);
        state_unref(before);
    }
    pthread_mutex_unlock(&a->lock);
}

/* Consumes st, the caller's reference. */
static int save_state(struct account *a, struct state *st, const struct stored_manifest *old,
                      struct error *err)
{
    struct state *replica = st;
    struct snapshot_plan plan;
    int r;

    state_ref(replica);
    r = compact(a->mail, &st, err);
    if (r == 0)
        r = plan_all(a->mail, st, old->m, &plan, err);
    if (r == -ERR_CONFLICT) /* others have replaced a segment that was never loaded here */
        account_drop(a);
    if (r == 0) {
        r = write_segments(a->mail, &plan, err);
        if (r == 0)
            r = write_manifest(a->mail, &plan, old, next_mark(a->mail, old), err);
        if (r == 0) {
            snapshot_plan_stored(&plan);
            atomic_fetch_add(&a->mail->snapshots, 1);
            note_saved(a, replica, st, st->seq);
        }
        snapshot_plan_done(&plan);
    }
    state_unref(replica);
    state_unref(st);
    return r;
}

int snapshot_save(struct account *a, uint64_t min_tail, struct error *err)
{
    CLEANUP(stored_manifest_done) struct stored_manifest old = {0};
    struct trimmed trimmed = {0};
    struct state *st;
    int64_t seen;
    int r = snapshot_trim(a->mail, a->id, &trimmed, err);

    if (r < 0)
        return r;
    if (!account_position(a, &st, &seen))
        return 0;
    r = read_manifest(a->mail, a->id, STORE_MAJORITY, &old, err);
    if (r == 0 && old.m && st->seq < manifest_seq(old.m) + MAX(min_tail, (uint64_t)1)) {
        note_saved(a, NULL, NULL, manifest_seq(old.m));
        state_unref(st);
        return 0;
    }
    if (r < 0 || st->seq < min_tail) {
        state_unref(st);
        return r;
    }
    return save_state(a, st, &old, err);
}

int snapshot_replace(struct mail *mail, struct state *st, struct error *err)
{
    CLEANUP(stored_manifest_done) struct stored_manifest old = {0};
    struct snapshot_plan plan;
    int r = read_manifest(mail, st->account, STORE_MAJORITY, &old, err);

    if (r < 0 && !old.stored)
        return r;
    if (old.m && manifest_seq(old.m) > st->seq)
        return error_set(err, ERR_CONFLICT, "another node saved a later one");
    r = plan_all(mail, st, NULL, &plan, err);
    if (r < 0)
        return r;
    r = write_segments(mail, &plan, err);
    if (r == 0) /* no mark: nothing is trimmed before this one has matured */
        r = write_manifest(mail, &plan, &old, (struct manifest_mark){0, 0}, err);
    if (r == 0)
        snapshot_plan_stored(&plan);
    snapshot_plan_done(&plan);
    return r;
}

/* --- in the background ----------------------------------------------------------------------- */

struct save_job {
    struct pool_job job;
    struct account *account;
};

static void save_in_background(struct pool_job *job)
{
    struct save_job *save = CONTAINER_OF(job, struct save_job, job);
    struct account *a = save->account;
    struct error err = {0};
    int r = snapshot_save(a, (uint64_t)a->mail->settings.snapshot_records, &err);

    if (r == -ERR_INTERNAL)
        log_text(LOG_ERROR_, "snapshot", "account %016llx: %s", (unsigned long long)a->id,
                 err.text);
    pthread_mutex_lock(&a->lock);
    a->saving = false;
    if (r < 0)
        a->save_after_ms = clock_mono_ms() + SAVE_PAUSE_MS;
    pthread_mutex_unlock(&a->lock);
    if (r == 0) /* much has happened: perhaps messages came */
        textindex_wanted(a);
    account_unref(a);
    free(save);
}

void snapshot_wanted(struct account *a, uint64_t seq)
{
    struct save_job *save;
    bool wanted;

    if (a->mail->stepped)
        return;
    pthread_mutex_lock(&a->lock);
    wanted = !a->saving && seq >= a->saved_seq + (uint64_t)a->mail->settings.snapshot_records &&
             clock_mono_ms() >= a->save_after_ms;
    if (wanted)
        a->saving = true;
    pthread_mutex_unlock(&a->lock);
    if (!wanted)
        return;
    save = NEW(struct save_job);
    save->job.run = save_in_background;
    save->account = account_ref(a);
    mail_submit_chore(a->mail, &save->job);
}

/* --- trimming -------------------------------------------------------------------------------- */

/* The highest seq of a snapshot that has been stored for longer than the horizon; 0: none. */
static uint64_t trim_line(struct mail *mail, const struct stored_manifest *s)
{
    struct manifest_mark mark = manifest_older(s->m);
    int64_t horizon = mail->settings.horizon_ms;

    if (s->time - s->stored_ms > horizon)
        return manifest_seq(s->m);
    return mark.seq && s->time - mark.time > horizon ? mark.seq : 0;
}

/* Records [1, line); the one at `line` stays, so that a writer who believes to be there finds out.
 */
static int trim_log(struct mail *mail, uint64_t account, uint64_t line, uint64_t *ret_n,
                    struct error *err)
{
    struct key16 from = key_pair(account, 0), to = key_pair(account, line);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = store_range(mail->store,
                        &(struct store_query){.table = STORE_LOG,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .limit = 1,
                                              .level = STORE_MAJORITY},
                        &docs, err);

    if (r < 0 || docs.n == 0)
        return r;
    return store_delete_range(mail->store, STORE_LOG, KEY_SLICE(from), KEY_SLICE(to), ret_n, err);
}

static bool is_named(const struct manifest *m, struct slice key)
{
    size_t n;
    const struct segment_ref *refs = manifest_segments(m, &n);
    uint64_t mailbox = get_be64(key.p + 8), stamp = get_be64(key.p + 20);
    uint32_t first = get_be32(key.p + 16);

    for (size_t i = 0; i < n; i++)
        if (refs[i].mailbox == mailbox && refs[i].first == first && refs[i].stamp == stamp)
            return true;
    return false;
}

/* Not named, not of a snapshot newer than this manifest, and superseded long enough ago. docs are
 * in the order of keys, so versions of one segment stand in a row, the newest last. */
static bool is_dead(struct mail *mail, const struct stored_manifest *s,
                    const struct store_docs *docs, size_t i)
{
    int64_t grace = mail->settings.horizon_ms / SEGMENT_GRACE_PART;
    struct slice key = docs->items[i].key;

    if (get_be64(key.p + 20) >> SEGMENT_STAMP_SHIFT > manifest_seq(s->m) || is_named(s->m, key))
        return false;
    if (s->time - s->stored_ms > grace)
        return true;
    return i + 1 < docs->n && memcmp(docs->items[i + 1].key.p, key.p, 20) == 0 &&
           docs->time - docs->items[i + 1].stored_ms > grace;
}

static int trim_segments(struct mail *mail, uint64_t account, const struct stored_manifest *s,
                         uint64_t *ret_n, struct error *err)
{
    struct key28 from = key_segment(account, 0, 0, 0);
    struct key28 to = key_segment(account, UINT64_MAX, UINT32_MAX, UINT64_MAX);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct slice *dead;
    size_t n = 0;
    int r = store_range(mail->store,
                        &(struct store_query){.table = STORE_SEGMENTS,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .parts = STORE_KEYS,
                                              .level = STORE_MAJORITY},
                        &docs, err);

    if (r < 0)
        return r;
    dead = NEW_ARRAY(struct slice, docs.n + 1);
    for (size_t i = 0; i < docs.n; i++)
        if (is_dead(mail, s, &docs, i))
            dead[n++] = docs.items[i].key;
    if (n)
        r = store_delete(mail->store, STORE_SEGMENTS, dead, n, err);
    free(dead);
    *ret_n += n;
    return r;
}

int snapshot_trim(struct mail *mail, uint64_t account, struct trimmed *trimmed, struct error *err)
{
    CLEANUP(stored_manifest_done) struct stored_manifest s = {0};
    uint64_t line, n = 0;
    int r = read_manifest(mail, account, STORE_MAJORITY, &s, err);

    if (r < 0 || !s.m)
        return r;
    line = trim_line(mail, &s);
    if (line > 1)
        r = trim_log(mail, account, line, &n, err);
    trimmed->records += n;
    return r < 0 ? r : trim_segments(mail, account, &s, &trimmed->segments, err);
}
