/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/store/log_world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/build.h"
#include "lib/mail/commit.h"
#include "lib/mail/fsck.h"
#include "lib/mail/message.h"
#include "lib/mail/snapshot.h"
#include "lib/mail/sweep.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"
#include "tests/store/log_reference.h"

#define ACCOUNTS    2
#define NODES_MAX   4
#define DEPTH_MAX   3
#define QUOTA_BYTES 200000
#define HOUR_MS     ((int64_t)3600 * 1000)

/* --- what there is --------------------------------------------------------------------------- */

struct dice {
    uint64_t state;
};

struct node {
    struct world *world;
    unsigned index, generation;
    struct store *store; /* faulty */
    struct mail *mail;
    struct account *accounts[ACCOUNTS];
    uint64_t shown[ACCOUNTS];
    _Atomic bool dead;
    bool busy;            /* stepped: an operation of it is on the stack */
    unsigned account;     /* that it works on */
    pthread_rwlock_t use; /* threaded: operations read, a restart writes */
};

/* One intent and what was answered. */
struct claim {
    enum intent_kind kind;
    unsigned account;
    uint32_t size;
    int result;
    bool nothing, duplicate, has_since, retried, only_deleted;
    uint64_t seq, mailbox, target, since, floor;
    uint32_t uid, uidvalidity;
    struct uidset done, late;
    uint8_t delivery[DELIVERY_HASH_SIZE];
    int64_t hours; /* when */
    struct claim *next;
};

/* A state that was shown, as a hash of its dump (threaded runs). */
struct shown {
    unsigned account;
    uint64_t seq;
    uint8_t hash[32];
};

struct world {
    struct world_options options;
    struct world_result *result;
    struct store *inner, *clock; /* the store; the same with a clock that jumps */
    struct node nodes[NODES_MAX];
    VEC(struct store *) buried; /* stores of dead nodes: what they sent may still come */
    uint64_t account_ids[ACCOUNTS];
    struct reference *references[ACCOUNTS];
    _Atomic uint64_t floor[ACCOUNTS]; /* the highest seq that anybody was shown or told of */
    struct dice dice;                 /* stepped */
    unsigned depth, dozing;           /* dozing: the account of the node that stands still */
    bool calm;
    bool can_jump; /* not MongoDB: its time stands still while nobody writes */
    bool closing;  /* accounts may be deleted in this run */
    int64_t hours;
    _Atomic uint32_t next_size;
    pthread_mutex_t lock; /* of the lists below, and of `violated` */
    struct claim *claims;
    VEC(struct shown) shows;
    struct mail *judge; /* reads past all faults */
};

static uint64_t roll(struct dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static bool chance(struct dice *d, unsigned per_mille)
{
    return roll(d) % 1000 < per_mille;
}

static void violated(void *ctx, const char *invariant, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void violated(void *ctx, const char *invariant, const char *fmt, ...)
{
    struct world *w = ctx;
    va_list ap;

    pthread_mutex_lock(&w->lock);
    if (!w->result->violated[0]) {
        snprintf(w->result->violated, sizeof w->result->violated, "%s", invariant);
        va_start(ap, fmt);
        vsnprintf(w->result->text, sizeof w->result->text, fmt, ap);
        va_end(ap);
    }
    pthread_mutex_unlock(&w->lock);
}

static void observe(struct world *w)
{
    for (unsigned i = 0; i < ACCOUNTS; i++)
        reference_observe(w->references[i]);
}

/* A message must be stored before any record names it. */
static void named(void *ctx, uint64_t account, uint64_t message, uint32_t size)
{
    struct world *w = ctx;
    struct key16 key = key_pair(account, message);
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    if (w->options.threads)
        return; /* it may be gone by the time of this look */
    if (store_get(w->inner, STORE_MESSAGES, (struct slice[]){KEY_SLICE(key)}, 1, STORE_KEYS,
                  STORE_MAJORITY, &docs, NULL) == 0 &&
        !docs.items[0].found)
        violated(w, "I21", "a record names a message of %u octets that is not stored", size);
}

/* --- nodes ----------------------------------------------------------------------------------- */

static void one_operation(struct world *w, struct dice *d);
static void node_operation(struct world *w, struct node *n, struct dice *d, bool clean);
static enum fault on_call(void *ctx, const char *verb, enum store_table table);

static void node_settings(const struct world *w, struct mail_settings *s)
{
    mail_settings_default(s);
    s->metadata_entries = REF_VALUES_MAX;
    s->snapshot_records = 12;
    s->commit_wait_ms = w->options.threads ? 1500 : 60;
    s->poll_ms = 500;
}

static void node_start(struct world *w, struct node *n)
{
    struct mail_settings settings;
    struct fault_plan plan = {.seed = w->options.seed * 31 + n->index * 7 + n->generation,
                              .late_calls = 300};
    struct error err = {0};
    int r;

    if (w->options.threads) {
        for (int i = FAULT_REFUSED; i <= FAULT_DELAY; i++)
            plan.per_mille[i] = w->options.fault_per_mille / 8;
    } else {
        plan.hook = on_call;
        plan.ctx = n;
    }
    n->world = w;
    n->generation++;
    n->dead = false;
    n->store = store_faulty_new(w->clock, &plan);
    node_settings(w, &settings);
    r = w->options.threads ? mail_new(n->store, NULL, &settings, &n->mail, &err)
                           : mail_new_stepped(n->store, &settings, &n->mail, &err);
    if (r < 0) {
        fprintf(stderr, "cannot start a node: %s\n", err.text);
        abort();
    }
    mail_set_broken(n->mail, w->options.broken);
    n->mail->coarse_dice = plan.seed | 1;
    memset(n->accounts, 0, sizeof n->accounts);
    memset(n->shown, 0, sizeof n->shown);
}

/* What it sent may still arrive, until the end of the run. */
static void node_bury(struct world *w, struct node *n)
{
    const struct commit_counters *c = commit_counters(n->mail);

    w->result->fences += c->fences;
    w->result->looked_up += c->looked_up;
    w->result->lost += c->lost;
    w->result->given_up += c->given_up;
    for (unsigned i = 0; i < ACCOUNTS; i++)
        account_unref(n->accounts[i]);
    mail_free(n->mail);
    *VEC_PUSH(&w->buried) = n->store;
}

static void node_restart(struct world *w, struct node *n)
{
    w->result->restarts++;
    node_bury(w, n);
    node_start(w, n);
}

static struct account *node_account(struct node *n, unsigned i)
{
    if (!n->accounts[i] &&
        account_open(n->mail, n->world->account_ids[i], &n->accounts[i], NULL) < 0)
        return NULL;
    return n->accounts[i];
}

static void jump(struct world *w, int64_t hours)
{
    if (!w->can_jump)
        return;
    w->hours += hours;
    w->result->jumps++;
    /* Never a sum that is just a limit: the real clock goes on a little as well. */
    store_faulty_advance(w->clock, hours * HOUR_MS + 7 * 60000);
}

/* The node stands still for a day or two, before or after its last hours of being believed; the
 * others clean up meanwhile. */
static void doze(struct world *w, struct node *sleeper, struct dice *d)
{
    static const int64_t hours[] = {11, 13, 23, 25, 49};

    w->dozing = sleeper->account;
    jump(w, hours[roll(d) % ARRAY_LEN(hours)]);
    w->depth++;
    for (uint64_t i = 1 + roll(d) % 4; i > 0; i--) {
        struct node *n = &w->nodes[roll(d) % w->options.nodes];

        if (chance(d, 500))
            one_operation(w, d);
        else
            node_operation(w, n, d, true);
    }
    w->depth--;
}

/* The heart of a stepped run: at every call to the store, anything may happen first. */
static enum fault on_call(void *ctx, const char *verb, enum store_table table)
{
    static const enum fault faults[] = {FAULT_REFUSED, FAULT_LOST,   FAULT_REPLY_LOST, FAULT_LATE,
                                        FAULT_TWICE,   FAULT_PARTLY, FAULT_TAKEN_OWN};
    struct node *n = ctx;
    struct world *w = n->world;
    struct dice *d = &w->dice;

    observe(w);
    if (n->dead)
        return FAULT_LOST;
    if (w->calm)
        return FAULT_NONE;
    if (w->depth < DEPTH_MAX && chance(d, 150)) {
        w->depth++;
        one_operation(w, d);
        w->depth--;
    }
    if (chance(d, 4))
        jump(w, 1 + (int64_t)(roll(d) % (chance(d, 500) ? 10 : 60)));
    /* Best just before a record goes out: all that it relies on grows old. */
    if (w->depth < DEPTH_MAX &&
        chance(d, table == STORE_LOG && strcmp(verb, "insert") == 0 ? 20 : 3))
        doze(w, n, d);
    if (chance(d, 3)) {
        n->dead = true;
        return chance(d, 500) ? FAULT_LOST : FAULT_LATE;
    }
    if (!chance(d, w->options.fault_per_mille))
        return FAULT_NONE;
    w->result->faults++;
    return faults[roll(d) % ARRAY_LEN(faults)];
}

/* --- what was answered ----------------------------------------------------------------------- */

static void check_append(struct world *w, const struct claim *c, const struct ref_state *s)
{
    struct reference *r = w->references[c->account];
    uint64_t mailbox = 0;
    uint32_t uid = 0;

    if (!reference_applied_at(r, c->size, c->seq, &mailbox, &uid))
        violated(w, "I21", "message of %u octets acknowledged at %llu, not there", c->size,
                 (unsigned long long)c->seq);
    else if (uid != c->uid || mailbox != c->target)
        violated(w, "I15", "APPENDUID %u, is %u", c->uid, uid);
    else if (ref_box_by_id(s, mailbox) && ref_box_by_id(s, mailbox)->uidvalidity != c->uidvalidity)
        violated(w, "I15", "wrong UIDVALIDITY");
}

static void check_flags(struct world *w, const struct claim *c, const struct ref_state *before,
                        const struct ref_state *s)
{
    const struct ref_box *old = ref_box_by_id(before, c->mailbox),
                         *now = ref_box_by_id(s, c->mailbox);
    const struct ref_message *m;
    uint32_t uid;

    for (struct uidset_iter i = uidset_iter(&c->done); old && uidset_next(&i, &uid);) {
        m = ref_message_by_uid(old, uid);
        if (m && c->has_since && m->modseq > c->since)
            violated(w, "I12", "changed although modseq %llu > %llu", (unsigned long long)m->modseq,
                     (unsigned long long)c->since);
        m = now ? ref_message_by_uid(now, uid) : NULL;
        if (m && m->modseq != c->seq)
            violated(w, "I5", "changed flags, modseq %llu, not %llu", (unsigned long long)m->modseq,
                     (unsigned long long)c->seq);
    }
    for (struct uidset_iter i = uidset_iter(&c->late); now && uidset_next(&i, &uid);) {
        m = ref_message_by_uid(now, uid);
        if (m && m->modseq <= c->since)
            violated(w, "I12", "in MODIFIED although modseq %llu <= %llu",
                     (unsigned long long)m->modseq, (unsigned long long)c->since);
    }
}

static void check_copy(struct world *w, const struct claim *c, const struct ref_state *before,
                       const struct ref_state *s)
{
    const struct ref_box *from = ref_box_by_id(before, c->mailbox);
    const struct ref_box *to = ref_box_by_id(s, c->target);
    uint32_t uid, k = 0;

    for (struct uidset_iter i = uidset_iter(&c->done); from && to && uidset_next(&i, &uid); k++) {
        const struct ref_message *old = ref_message_by_uid(from, uid);
        const struct ref_message *new = ref_message_by_uid(to, c->uid + k);

        if (old && new && old->id != new->id)
            violated(w, "I15", "COPYUID does not name the copies in order");
        if (old && c->kind == INTENT_MOVE && ref_box_by_id(s, c->mailbox) &&
            ref_message_by_uid(ref_box_by_id(s, c->mailbox), uid))
            violated(w, "I16", "moved, and still in the source");
    }
}

static void check_expunge(struct world *w, const struct claim *c, const struct ref_state *s)
{
    const struct ref_box *box = ref_box_by_id(s, c->mailbox);
    uint32_t uid;

    for (struct uidset_iter i = uidset_iter(&c->done); box && uidset_next(&i, &uid);)
        if (ref_message_by_uid(box, uid))
            violated(w, "I21", "expunged, and still there");
}

static void check_done(struct world *w, const struct claim *c)
{
    struct reference *r = w->references[c->account];
    const struct ref_state *s = reference_at(r, c->seq), *before = reference_at(r, c->seq - 1);

    if (!s || !before) {
        violated(w, "I21", "acknowledged at %llu, the log ends at %llu", (unsigned long long)c->seq,
                 (unsigned long long)reference_head(r));
        return;
    }
    switch (c->kind) {
    case INTENT_APPEND:
    case INTENT_DELIVER:
        check_append(w, c, s);
        break;
    case INTENT_FLAGS:
        check_flags(w, c, before, s);
        break;
    case INTENT_COPY:
    case INTENT_MOVE:
        check_copy(w, c, before, s);
        break;
    case INTENT_EXPUNGE:
        check_expunge(w, c, s);
        break;
    case INTENT_CLOSE:
        if (!s->closed)
            violated(w, "I32", "deleted at %llu, and still open", (unsigned long long)c->seq);
        break;
    default:
        break;
    }
}

static void check_claim(struct world *w, const struct claim *c)
{
    struct reference *r = w->references[c->account];
    bool refused = c->result < 0 && c->result != -ERR_UNKNOWN_OUTCOME;

    if (refused && !c->retried && c->size && reference_applied(r, c->size))
        violated(w, "I23", "message of %u octets refused (%s), yet there", c->size,
                 err_name(c->result));
    if (c->result == 0 && c->duplicate && !reference_applied(r, c->size))
        violated(w, "I21", "acknowledged as stored before, is not");
    if (c->result == 0 && !c->nothing && !c->duplicate)
        check_done(w, c);
    if (((c->result == 0 && c->nothing && !c->duplicate) ||
         (refused && c->result != -ERR_UNAVAILABLE)) &&
        c->seq && c->seq < c->floor)
        violated(w, "I21", "answered from %llu what was at %llu before", (unsigned long long)c->seq,
                 (unsigned long long)c->floor);
}

static void raise_floor(struct world *w, unsigned account, uint64_t seq)
{
    uint64_t now = w->floor[account];

    while (now < seq && !atomic_compare_exchange_weak(&w->floor[account], &now, seq))
        ;
}

static void note_answer(struct world *w, struct claim *c, struct intent *it)
{
    c->result = it->result;
    c->nothing = it->nothing;
    c->duplicate = it->duplicate;
    c->seq = it->seq;
    c->target = it->mailbox_id;
    c->uid = it->uid;
    c->uidvalidity = it->uidvalidity;
    c->done = uidset_copy(&it->done);
    c->late = uidset_copy(&it->late);
    if (c->result == 0)
        raise_floor(w, c->account, c->seq);
    pthread_mutex_lock(&w->lock);
    w->result->answers++;
    w->result->unknown += c->result == -ERR_UNKNOWN_OUTCOME;
    w->result->refused += c->result < 0 && c->result != -ERR_UNKNOWN_OUTCOME;
    c->next = w->claims;
    w->claims = c;
    pthread_mutex_unlock(&w->lock);
    if (w->options.trace)
        printf("  account %u kind %d size %u: %s seq %llu uid %u%s%s\n", c->account, c->kind,
               c->size, err_name(c->result), (unsigned long long)c->seq, c->uid,
               c->nothing ? " nothing" : "", c->duplicate ? " duplicate" : "");
    if (!w->options.threads)
        check_claim(w, c);
}

/* --- what is shown --------------------------------------------------------------------------- */

static bool load_all(struct account *a, struct state *st)
{
    for (size_t i = 0; i < st->n_mailboxes; i++) {
        struct mailbox *box = NULL;

        if (mailbox_load(a, st, st->mailboxes[i]->id, 0, UINT32_MAX, &box, NULL) < 0)
            return false;
        mailbox_unref(box);
    }
    return true;
}

static void note_dump(struct world *w, unsigned account, const struct state *st)
{
    CLEANUP(buf_done) struct buf dump = buf_make((size_t)64 << 20);
    struct shown s = {.account = account, .seq = st->seq};

    state_dump(st, &dump);
    digest_sha256(buf_slice(&dump), s.hash);
    pthread_mutex_lock(&w->lock);
    *VEC_PUSH(&w->shows) = s;
    pthread_mutex_unlock(&w->lock);
}

static void note_shown(struct world *w, struct node *n, unsigned account)
{
    struct state *st = n->accounts[account] ? account_state(n->accounts[account]) : NULL;

    if (!st)
        return;
    if (!w->options.threads) {
        observe(w);
        if (st->seq < n->shown[account])
            violated(w, "I10", "node %u went back from %llu to %llu", n->index,
                     (unsigned long long)n->shown[account], (unsigned long long)st->seq);
        n->shown[account] = st->seq;
        if (st->seq > reference_head(w->references[account]))
            violated(w, "I25", "node %u shows %llu, the log ends at %llu", n->index,
                     (unsigned long long)st->seq,
                     (unsigned long long)reference_head(w->references[account]));
    }
    raise_floor(w, account, st->seq);
    if (load_all(n->accounts[account], st)) {
        if (w->options.threads)
            note_dump(w, account, st);
        else
            reference_compare(w->references[account], st, "a node");
    }
    state_unref(st);
}

/* --- what clients want ----------------------------------------------------------------------- */

/* Bytes of exactly that size; large ones share their attachment, which makes blobs. */
static void message_bytes(uint32_t size, struct buf *out)
{
    static const char line[] = "The quick brown fox jumps over the lazy dog, again and again.\r\n";

    buf_printf(out, "From: a@example.org\r\nSubject: number %u\r\n", size);
    if (size > 30000) {
        buf_add_str(out, "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
                         "Content-Transfer-Encoding: 8bit\r\n\r\n");
        for (size_t i = 0; out->n + sizeof line < size; i++)
            buf_printf(out, "%04zu%s", (i + size % 3) % 1000, line + 4);
    } else {
        buf_add_str(out, "\r\n");
    }
    while (out->n < size)
        buf_add_byte(out, out->n + 2 == size ? '\r' : out->n + 1 == size ? '\n' : 'x');
}

static int prepare(struct node *n, uint32_t size, struct prepared **ret)
{
    CLEANUP(buf_done) struct buf bytes = buf_make(1 << 20);
    struct message_writer *mw = message_writer_new(n->mail);
    int r;

    message_bytes(size, &bytes);
    r = message_writer_feed(mw, buf_slice(&bytes), NULL);
    if (r == 0)
        r = message_writer_finish(mw, ret, NULL);
    message_writer_free(mw);
    return r;
}

struct want {
    struct intent intent;
    struct claim *claim;
    char name[32];
    struct slice keyword;
    char word[16];
};

static uint64_t pick_box(const struct state *st, struct dice *d)
{
    return st->n_mailboxes ? st->mailboxes[roll(d) % st->n_mailboxes]->id : 1;
}

static void pick_name(const struct state *st, struct dice *d, struct want *want)
{
    const struct mailbox *box = state_mailbox(st, pick_box(st, d));

    snprintf(want->name, sizeof want->name, "%s", box && chance(d, 950) ? box->name : "Nowhere");
    want->intent.name = slice_str(want->name);
}

static void pick_uids(const struct state *st, uint64_t box_id, struct dice *d, struct uidset *uids)
{
    const struct mailbox *box = state_mailbox(st, box_id);
    uint32_t top = box ? box->sum.uidnext : 1;

    for (uint32_t uid = top > 12 ? top - 12 : 1; uid <= top; uid++)
        if (chance(d, 350))
            uidset_add(uids, uid);
    if (uids->n == 0)
        uidset_add(uids, 1);
}

static uint32_t new_size(struct world *w, struct dice *d)
{
    uint32_t n = w->next_size++;

    return chance(d, 120) ? 30001 + n : 200 + n;
}

/* A mail agent that did not get an answer it believes tries again, on any node. */
static struct claim *to_retry(struct world *w, unsigned account, struct dice *d)
{
    struct claim *c, *found = NULL;
    unsigned skip = (unsigned)(roll(d) % 6);

    pthread_mutex_lock(&w->lock);
    for (c = w->claims; c && !found; c = c->next)
        if (c->kind == INTENT_DELIVER && c->account == account && w->hours - c->hours < 8 &&
            (c->result == 0 || c->result == -ERR_UNKNOWN_OUTCOME ||
             c->result == -ERR_UNAVAILABLE) &&
            skip-- == 0)
            found = c;
    if (found)
        found->retried = true;
    pthread_mutex_unlock(&w->lock);
    return found;
}

static int fill_message(struct world *w, struct node *n, struct want *want, struct dice *d)
{
    struct claim *c = want->claim, *before = NULL;

    if (c->kind == INTENT_DELIVER && chance(d, 350))
        before = to_retry(w, c->account, d);
    c->size = before ? before->size : new_size(w, d);
    c->retried = before != NULL;
    if (c->kind == INTENT_DELIVER) {
        uint8_t hash[32];

        digest_sha256(slice_of(&c->size, sizeof c->size), hash);
        memcpy(want->intent.delivery, hash, DELIVERY_HASH_SIZE);
        want->intent.else_inbox = true;
    }
    return prepare(n, c->size, &want->intent.prepared);
}

static void fill_flags(struct want *want, const struct state *st, struct dice *d)
{
    struct intent *it = &want->intent;

    it->flags.system = (uint8_t)(1 << roll(d) % 5);
    it->how = (enum flags_how)(roll(d) % 2);
    if (chance(d, 500)) {
        it->has_since = true;
        it->since = st->seq - MIN(st->seq, roll(d) % 8);
    }
}

static enum intent_kind pick_kind(struct dice *d)
{
    static const enum intent_kind kinds[] = {
        INTENT_APPEND,  INTENT_APPEND,   INTENT_DELIVER, INTENT_DELIVER, INTENT_DELIVER,
        INTENT_FLAGS,   INTENT_FLAGS,    INTENT_FLAGS,   INTENT_FLAGS,   INTENT_EXPUNGE,
        INTENT_EXPUNGE, INTENT_COPY,     INTENT_MOVE,    INTENT_CREATE,  INTENT_RENAME,
        INTENT_DELETE,  INTENT_UNDELETE, INTENT_SET,     INTENT_SET};

    return kinds[roll(d) % ARRAY_LEN(kinds)];
}

static void note_gone(void *ctx, uint64_t message, int64_t t_ms, uint32_t size)
{
    *(uint64_t *)ctx = message;
}

/* False: what it needs could not be made ready. */
static bool fill_want(struct world *w, struct node *n, unsigned account, const struct state *st,
                      struct dice *d, struct want *want)
{
    struct intent *it = &want->intent;

    want->claim = NEW(struct claim);
    want->claim->kind = it->kind = w->closing && chance(d, 12) ? INTENT_CLOSE : pick_kind(d);
    want->claim->account = account;
    want->claim->floor = w->floor[account];
    want->claim->hours = w->hours;
    it->account = n->accounts[account];
    switch (it->kind) {
    case INTENT_APPEND:
    case INTENT_DELIVER:
        pick_name(st, d, want);
        if (fill_message(w, n, want, d) < 0)
            return false;
        break;
    case INTENT_UNDELETE:
        pick_name(st, d, want);
        state_each_gone(st, note_gone, &it->message);
        if (!it->message)
            return false;
        break;
    case INTENT_CREATE:
    case INTENT_RENAME:
        snprintf(want->name, sizeof want->name, "box%u", (unsigned)(roll(d) % 4));
        it->name = slice_str(want->name);
        it->mailbox = it->kind == INTENT_RENAME ? pick_box(st, d) : 0;
        break;
    case INTENT_DELETE:
        it->mailbox = pick_box(st, d);
        break;
    case INTENT_CLOSE:
        break;
    case INTENT_SET:
        it->mailbox = pick_box(st, d);
        snprintf(want->name, sizeof want->name, "/private/%c", 'a' + (int)(roll(d) % REF_VALUES));
        it->key = slice_str(want->name);
        snprintf(want->word, sizeof want->word, "%c%u", METADATA_MARK, (unsigned)(roll(d) % 3));
        it->value = slice_str(chance(d, 300) ? "" : want->word);
        it->if_absent = slice_eq(it->value, S(REF_VALUE_FIRST));
        break;
    default:
        it->mailbox = pick_box(st, d);
        pick_uids(st, it->mailbox, d, &it->uids);
        pick_name(st, d, want);
        if (it->kind == INTENT_FLAGS)
            fill_flags(want, st, d);
        break;
    }
    want->claim->mailbox = it->mailbox;
    want->claim->since = it->since;
    want->claim->has_since = it->has_since;
    return true;
}

static void want_done(struct want *want)
{
    uidset_done(&want->intent.uids);
    prepared_unref(want->intent.prepared);
    intent_done(&want->intent);
}

/* What REPLACE does: a message goes and another one comes, in one record or not at all (I15). */
static void replacing(struct world *w, struct node *n, unsigned account, struct dice *d)
{
    struct want wants[2] = {0};
    struct intent *list[2] = {&wants[0].intent, &wants[1].intent};
    struct state *st = account_state(n->accounts[account]);
    uint64_t box = pick_box(st, d);

    for (size_t i = 0; i < 2; i++) {
        struct want *want = &wants[i];

        want->intent = (struct intent){.kind = i ? INTENT_APPEND : INTENT_EXPUNGE,
                                       .account = n->accounts[account],
                                       .all_there = i == 0,
                                       .in_one_record_with_next = i == 0};
        want->claim = NEW(struct claim);
        *want->claim = (struct claim){.kind = want->intent.kind,
                                      .account = account,
                                      .floor = w->floor[account],
                                      .hours = w->hours};
    }
    wants[0].intent.mailbox = wants[0].claim->mailbox = box;
    pick_uids(st, box, d, &wants[0].intent.uids);
    wants[0].intent.uids.items[0].last = wants[0].intent.uids.items[0].first;
    wants[0].intent.uids.n = 1;
    pick_name(st, d, &wants[1]);
    state_unref(st);
    if (fill_message(w, n, &wants[1], d) == 0) {
        mail_commit(n->mail, list, 2);
        if (n->dead)
            ; /* nobody hears it */
        else if (list[0]->result != list[1]->result ||
                 (!list[0]->result && list[0]->seq != list[1]->seq))
            violated(w, "I15", "the parts of a group have different fates");
        else if (!list[0]->result && uidset_count(&list[0]->done) != uidset_count(&list[0]->uids))
            violated(w, "I15", "what had to be there was not");
    } else {
        list[0]->result = list[1]->result = -ERR_UNAVAILABLE;
    }
    for (size_t i = 0; i < 2; i++) {
        if (n->dead)
            list[i]->result = -ERR_UNKNOWN_OUTCOME;
        if (!w->options.threads)
            observe(w);
        note_answer(w, wants[i].claim, list[i]);
        want_done(&wants[i]);
    }
}

/* One to four intents at once. */
static void clients(struct world *w, struct node *n, unsigned account, struct dice *d)
{
    struct want wants[4] = {0};
    struct intent *list[4];
    size_t n_wants = 1 + (chance(d, 300) ? roll(d) % 4 : 0), count = 0;
    struct state *st = account_state(n->accounts[account]);

    for (size_t i = 0; i < n_wants; i++) {
        struct want *want = &wants[count];

        if (fill_want(w, n, account, st, d, want)) {
            list[count++] = &want->intent;
        } else {
            free(want->claim);
            want_done(want);
            memset(want, 0, sizeof *want);
        }
    }
    state_unref(st);
    if (count)
        mail_commit(n->mail, list, count);
    for (size_t i = 0; i < count; i++) {
        if (n->dead) /* nobody hears it */
            wants[i].intent.result = -ERR_UNKNOWN_OUTCOME;
        if (!w->options.threads)
            observe(w);
        note_answer(w, wants[i].claim, &wants[i].intent);
        want_done(&wants[i]);
    }
}

/* --- what nodes do by themselves ---------------------------------------------------------------
 */

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void housework(struct world *w, struct node *n, unsigned account, struct dice *d)
{
    struct trimmed trimmed = {0};
    struct swept swept = {0};
    uint8_t cursor[32] = {0};
    int r = 0;

    switch (roll(d) % 6) {
    case 0:
    case 1:
        if (snapshot_save(n->accounts[account], 3, NULL) == 0)
            count(&w->result->saved, 1);
        break;
    case 2:
        r = snapshot_trim(n->mail, w->account_ids[account], &trimmed, NULL);
        count(&w->result->trimmed, trimmed.records);
        break;
    case 3:
    case 4:
        r = sweep_account(n->mail, w->account_ids[account], &swept, NULL);
        count(&w->result->swept, swept.messages);
        break;
    default:
        while ((r = content_sweep(n->mail->content, cursor, 16, &swept.blobs, NULL)) > 0)
            ;
    }
    (void)r; /* faults are expected */
}

static void operate(struct world *w, struct node *n, struct dice *d, bool clean)
{
    unsigned account = (unsigned)(roll(d) % ACCOUNTS);

    if (clean && chance(d, 800))
        account = w->dozing;
    if (!w->options.threads)
        n->account = account;
    if (!node_account(n, account))
        return;
    if (clean) {
        housework(w, n, account, d);
    } else if (chance(d, 200)) {
        if (account_refresh(n->accounts[account], NULL, NULL) == 0 && !n->dead)
            note_shown(w, n, account);
    } else if (chance(d, 200)) {
        housework(w, n, account, d);
    } else if (chance(d, 100)) {
        replacing(w, n, account, d);
        if (!n->dead)
            note_shown(w, n, account);
    } else {
        clients(w, n, account, d);
        if (!n->dead)
            note_shown(w, n, account);
    }
    while (!w->options.threads && mail_step(n->mail))
        ;
}

/* Stepped: unless the node is in the middle of something. */
static void node_operation(struct world *w, struct node *n, struct dice *d, bool clean)
{
    if (n->busy || w->result->violated[0])
        return;
    n->busy = true;
    operate(w, n, d, clean);
    n->busy = false;
    if (n->dead)
        node_restart(w, n);
}

static void one_operation(struct world *w, struct dice *d)
{
    node_operation(w, &w->nodes[roll(d) % w->options.nodes], d, false);
}

static void stepped_run(struct world *w, const bool *left_out)
{
    for (unsigned i = 0; i < w->options.operations && !w->result->violated[0]; i++) {
        if (left_out && left_out[i])
            continue;
        w->dice.state = w->options.seed * 0x2545f4914f6cdd1d + i;
        roll(&w->dice);
        one_operation(w, &w->dice);
        observe(w);
    }
}

/* --- threads --------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    struct world *world;
    struct dice dice;
    unsigned operations;
};

static void *worker_main(void *arg)
{
    struct worker *k = arg;
    struct world *w = k->world;

    for (unsigned i = 0; i < k->operations; i++) {
        struct node *n = &w->nodes[roll(&k->dice) % w->options.nodes];

        pthread_rwlock_rdlock(&n->use);
        operate(w, n, &k->dice, false);
        pthread_rwlock_unlock(&n->use);
    }
    return NULL;
}

/* A node is cut off from its store and started again. */
static void restart_one(struct world *w, struct dice *d)
{
    struct node *n = &w->nodes[roll(d) % w->options.nodes];
    struct fault_plan cut = {.per_mille = {[FAULT_LOST] = 1000}, .seed = roll(d)};

    n->dead = true;
    store_faulty_set(n->store, &cut);
    pthread_rwlock_wrlock(&n->use);
    node_restart(w, n);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        while (!node_account(n, i))
            ;
    pthread_rwlock_unlock(&n->use);
}

static void threaded_run(struct world *w)
{
    struct worker *workers = NEW_ARRAY(struct worker, w->options.threads);
    struct dice d = {w->options.seed};

    for (unsigned i = 0; i < w->options.nodes; i++)
        for (unsigned k = 0; k < ACCOUNTS; k++)
            while (!node_account(&w->nodes[i], k))
                ;
    for (unsigned i = 0; i < w->options.threads; i++) {
        workers[i].world = w;
        workers[i].dice.state = w->options.seed + 1000 * (i + 1);
        workers[i].operations = w->options.operations / w->options.threads;
        pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
    }
    for (int i = 0; i < 4; i++) {
        struct timespec nap = {.tv_nsec = 150000000};

        nanosleep(&nap, NULL);
        restart_one(w, &d);
    }
    for (unsigned i = 0; i < w->options.threads; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
}

/* --- the end --------------------------------------------------------------------------------- */

static void heal(struct world *w)
{
    struct fault_plan none = {0};

    w->calm = true;
    for (size_t i = 0; i < w->buried.n; i++) {
        store_faulty_set(w->buried.items[i], &none);
        store_faulty_flush(w->buried.items[i]);
    }
    for (unsigned i = 0; i < w->options.nodes; i++) {
        if (w->options.threads)
            store_faulty_set(w->nodes[i].store, &none);
        store_faulty_flush(w->nodes[i].store);
    }
    observe(w);
}

static bool is_closed(const struct world *w, unsigned account)
{
    const struct reference *r = w->references[account];

    return reference_at(r, reference_head(r))->closed;
}

/* Warm replicas and the log end in the same state. */
static void check_nodes(struct world *w)
{
    for (unsigned i = 0; i < w->options.nodes; i++)
        for (unsigned k = 0; k < ACCOUNTS; k++) {
            struct node *n = &w->nodes[i];
            struct state *st = NULL;
            struct error err = {0};

            if (!node_account(n, k) || account_refresh(n->accounts[k], &st, &err) < 0) {
                if (is_closed(w, k))
                    continue; /* erased already */
                violated(w, "I21", "node %u cannot open account %u: %s", i, k, err.text);
                continue;
            }
            observe(w);
            if (st->seq != reference_head(w->references[k]))
                violated(w, "I21", "node %u ends at %llu, the log at %llu", i,
                         (unsigned long long)st->seq,
                         (unsigned long long)reference_head(w->references[k]));
            if (!load_all(n->accounts[k], st))
                violated(w, "I6", "segments cannot be loaded");
            else
                reference_compare(w->references[k], st, "at the end, a node");
            state_unref(st);
        }
}

static void check_claims(struct world *w)
{
    for (struct claim *c = w->claims; c; c = c->next)
        check_claim(w, c);
    for (size_t i = 0; i < w->shows.n; i++) {
        const struct shown *s = &w->shows.items[i];
        const struct ref_state *at = reference_at(w->references[s->account], s->seq);
        CLEANUP(buf_done) struct buf dump = buf_make((size_t)64 << 20);
        uint8_t hash[32];

        if (!at) {
            violated(w, "I25", "a state at %llu was shown", (unsigned long long)s->seq);
            return;
        }
        state_dump(at->st, &dump);
        digest_sha256(buf_slice(&dump), hash);
        if (memcmp(hash, s->hash, sizeof hash) != 0)
            violated(w, "I6", "another state was shown at %llu", (unsigned long long)s->seq);
    }
}

static void fsck_found(void *ctx, uint64_t account, const char *what, struct slice text,
                       bool repaired)
{
    violated(ctx, strcmp(what, "message") == 0 ? "I27" : "I6", "fsck: %s: %.*s", what,
             SLICE_FMT(text));
}

static const struct {
    enum store_table table;
    const char *what;
} erased_tables[] = {{STORE_LOG, "log"},
                     {STORE_MESSAGES, "messages"},
                     {STORE_SEGMENTS, "segments"},
                     {STORE_SNAPSHOTS, "manifest"}};

static void check_erased(struct world *w, uint64_t account)
{
    struct key8 from = key_account(account), to = key_account(account + 1);

    for (size_t i = 0; i < ARRAY_LEN(erased_tables); i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        if (store_range(w->inner,
                        &(struct store_query){.table = erased_tables[i].table,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .level = STORE_MAJORITY},
                        &docs, NULL) == 0 &&
            docs.n)
            violated(w, "I32", "%zu documents of a deleted account are left: %s", docs.n,
                     erased_tables[i].what);
    }
}

/* A cold node reads everything back; then days pass, sweeps run, and nothing is left that nobody
 * uses, and nothing is gone that somebody does. */
static void check_cold(struct world *w)
{
    struct fsck_options options = {.contents = true, .found = fsck_found, .ctx = w};
    struct fsck_result result = {0};
    struct mail_settings settings;
    struct swept swept = {0};
    struct error err = {0};
    struct mail *mail = NULL;
    uint8_t cursor[32] = {0};

    mail_settings_default(&settings);
    if (mail_new_stepped(w->clock, &settings, &mail, &err) < 0)
        return;
    for (int round = 0; round < 3; round++) {
        memset(&result, 0, sizeof result);
        for (unsigned i = 0; i < ACCOUNTS; i++)
            if (!is_closed(w, i) &&
                fsck_account(mail, w->account_ids[i], &options, &result, &err) < 0)
                violated(w, "I21", "fsck: %s", err.text);
        jump(w, 100);
        for (unsigned i = 0; i < ACCOUNTS; i++)
            for (int k = 0; k < 3 && sweep_account(mail, w->account_ids[i], &swept, &err) < 0; k++)
                ;
        while (content_sweep(mail->content, cursor, 64, &swept.blobs, &err) > 0)
            ;
    }
    if (result.orphans && w->can_jump)
        violated(w, "I27", "%llu orphans are left", (unsigned long long)result.orphans);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        if (is_closed(w, i) && w->can_jump)
            check_erased(w, w->account_ids[i]);
    mail_free(mail);
}

static bool setup(struct world *w)
{
    struct mail_account_options options = {.quota_bytes = QUOTA_BYTES, .only_inbox = true};
    struct ref_judge judge = {violated, named, w};
    struct mail_settings settings;
    struct fault_plan none = {0};
    struct error err = {0};
    struct mail *mail = NULL;
    bool ok;

    pthread_mutex_init(&w->lock, NULL);
    ok = store_open(w->options.uri, NULL, &w->inner, &err) == 0;
    if (!ok) {
        violated(w, "store", "%s", err.text);
        return false;
    }
    w->clock = store_faulty_new(w->inner, &none);
    w->can_jump = strcmp(store_kind(w->inner), "mongodb") != 0;
    w->closing = !w->options.threads && w->options.seed % 4 == 0;
    mail_settings_default(&settings);
    ok = mail_new_stepped(w->clock, &settings, &mail, &err) == 0;
    for (unsigned i = 0; i < ACCOUNTS && ok; i++) {
        w->account_ids[i] =
            strncmp(w->options.uri, "memory:", 7) == 0 ? 0x1000 + i : random_u64() >> 1;
        w->references[i] = reference_new(w->inner, w->account_ids[i], &judge);
        ok = mail_account_create(mail, w->account_ids[i], &options, &err) == 0;
    }
    if (!ok)
        violated(w, "setup", "%s", err.text);
    mail_free(mail);
    for (unsigned i = 0; i < w->options.nodes; i++) {
        w->nodes[i].index = i;
        pthread_rwlock_init(&w->nodes[i].use, NULL);
        node_start(w, &w->nodes[i]);
    }
    return ok;
}

static void teardown(struct world *w)
{
    struct claim *c;

    for (unsigned i = 0; i < w->options.nodes; i++) {
        node_bury(w, &w->nodes[i]);
        pthread_rwlock_destroy(&w->nodes[i].use);
    }
    for (size_t i = 0; i < w->buried.n; i++)
        store_close(w->buried.items[i]);
    VEC_DONE(&w->buried);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        w->result->records += reference_head(w->references[i]);
        reference_free(w->references[i]);
    }
    while ((c = w->claims)) {
        w->claims = c->next;
        uidset_done(&c->done);
        uidset_done(&c->late);
        free(c);
    }
    VEC_DONE(&w->shows);
    store_close(w->clock);
    store_close(w->inner);
    pthread_mutex_destroy(&w->lock);
}

void world_run(const struct world_options *options, const bool *left_out,
               struct world_result *result)
{
    struct world *w = NEW(struct world);

    memset(result, 0, sizeof *result);
    w->options = *options;
    w->options.nodes = MIN(options->nodes, (unsigned)NODES_MAX);
    w->result = result;
    if (setup(w)) {
        if (options->threads)
            threaded_run(w);
        else
            stepped_run(w, left_out);
        heal(w);
        if (!result->violated[0])
            check_nodes(w);
        if (!result->violated[0])
            check_claims(w);
        if (!result->violated[0])
            check_cold(w);
        teardown(w);
    }
    free(w);
}
