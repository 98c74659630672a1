/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/store/log_reference.h"

#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/store/keys.h"

#define VIOLATED(r, what, ...) (r)->judge.violated((r)->judge.ctx, what, __VA_ARGS__)

struct arrival {
    uint32_t size, uid;
    uint64_t seq, mailbox;
    int64_t t_ms;
};

struct seen_delivery {
    uint8_t hash[DELIVERY_HASH_SIZE];
    int64_t t_ms;
};

struct reference {
    struct store *truth;
    uint64_t account;
    struct ref_judge judge;
    struct {
        struct ref_state **items;
        size_t n, cap;
    } states; /* items[seq] */
    struct {
        struct arrival *items;
        size_t n, cap;
    } arrivals;
    struct {
        uint64_t *items;
        size_t n, cap;
    } messages, boxes; /* ids ever given */
    struct {
        struct seen_delivery *items;
        size_t n, cap;
    } deliveries;
    struct {
        struct ref_message *items;
        size_t n, cap;
    } leaving; /* messages that the record looked at has taken away so far */
    uint32_t last_uidvalidity;
    uint64_t quota;
};

/* --- states ---------------------------------------------------------------------------------- */

static struct ref_state *copy_state(const struct ref_state *old)
{
    struct ref_state *s = NEW(struct ref_state);

    *s = *old;
    s->st = NULL;
    s->items = mem_realloc(NULL, old->n + 1, sizeof *s->items);
    s->cap = old->n + 1;
    for (size_t i = 0; i < old->n; i++) {
        struct ref_box *box = &s->items[i];

        *box = old->items[i];
        box->cap = box->n + 1;
        box->items = mem_realloc(NULL, box->cap, sizeof *box->items);
        if (box->n)
            memcpy(box->items, old->items[i].items, box->n * sizeof *box->items);
    }
    return s;
}

static void free_state(struct ref_state *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->items[i].items);
    free(s->items);
    state_unref(s->st);
    free(s);
}

const struct ref_box *ref_box_by_id(const struct ref_state *s, uint64_t id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].id == id)
            return &s->items[i];
    return NULL;
}

static struct ref_box *own_box(struct ref_state *s, uint64_t id)
{
    return (struct ref_box *)ref_box_by_id(s, id);
}

const struct ref_message *ref_message_by_uid(const struct ref_box *box, uint32_t uid)
{
    for (size_t i = 0; i < box->n; i++)
        if (box->items[i].uid == uid)
            return &box->items[i];
    return NULL;
}

static size_t count_all(const struct ref_state *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += s->items[i].n;
    return n;
}

static void take_out(struct ref_state *s, struct ref_box *box, uint32_t uid,
                     struct ref_message *ret)
{
    for (size_t i = 0; i < box->n; i++)
        if (box->items[i].uid == uid) {
            *ret = box->items[i];
            s->used -= ret->size;
            memmove(box->items + i, box->items + i + 1, (box->n - i - 1) * sizeof *box->items);
            box->n--;
            return;
        }
}

static void put_in(struct ref_state *s, struct ref_box *box, struct ref_message m)
{
    *VEC_PUSH(box) = m;
    box->uidnext = m.uid + 1;
    s->used += m.size;
}

/* --- ops ------------------------------------------------------------------------------------- */

static uint64_t hash_keywords(const struct flags *f)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < f->n_keywords; i++) {
        uint64_t h = 14695981039346656037u;

        for (size_t k = 0; k < f->keywords[i].n; k++)
            h = (h ^ byte_lower(f->keywords[i].p[k])) * 1099511628211u;
        sum += h;
    }
    return sum;
}

static bool note_id(uint64_t **items, size_t *n, size_t *cap, uint64_t id)
{
    for (size_t i = 0; i < *n; i++)
        if ((*items)[i] == id)
            return false;
    if (*n == *cap)
        *items = mem_realloc(*items, *cap = *cap * 2 + 16, sizeof **items);
    (*items)[(*n)++] = id;
    return true;
}

#define NOTE_ID(list, id) note_id(&(list)->items, &(list)->n, &(list)->cap, id)

static void apply_create(struct reference *r, struct ref_state *s, const struct op *op)
{
    struct ref_box *box;

    if (!NOTE_ID(&r->boxes, op->mailbox))
        VIOLATED(r, "I19", "MAILBOXID %llx given twice", (unsigned long long)op->mailbox);
    if (op->uidvalidity == 0 || op->uidvalidity <= r->last_uidvalidity)
        VIOLATED(r, "I3", "UIDVALIDITY %u after %u", op->uidvalidity, r->last_uidvalidity);
    r->last_uidvalidity = op->uidvalidity;
    for (size_t i = 0; i < s->n; i++)
        if (slice_eq(slice_str(s->items[i].name), op->name))
            VIOLATED(r, "I6", "mailbox name taken: %.*s", SLICE_FMT(op->name));
    box = VEC_PUSH(s);
    *box = (struct ref_box){.id = op->mailbox, .uidvalidity = op->uidvalidity, .uidnext = 1};
    snprintf(box->name, sizeof box->name, "%.*s", SLICE_FMT(op->name));
}

static void apply_delete(struct reference *r, struct ref_state *s, struct ref_box *box)
{
    for (size_t i = 0; i < box->n; i++) {
        s->used -= box->items[i].size;
        *VEC_PUSH(&r->leaving) = box->items[i];
    }
    free(box->items);
    *box = s->items[--s->n];
}

static void check_delivery(struct reference *r, const struct op *op, int64_t t_ms)
{
    struct seen_delivery *d;

    if (!op->has_delivery)
        return;
    for (size_t i = 0; i < r->deliveries.n; i++)
        if (memcmp(r->deliveries.items[i].hash, op->delivery, DELIVERY_HASH_SIZE) == 0 &&
            t_ms - r->deliveries.items[i].t_ms < DELIVERY_WINDOW_MS)
            VIOLATED(r, "I24", "the same bytes stored twice within three days");
    d = VEC_PUSH(&r->deliveries);
    memcpy(d->hash, op->delivery, DELIVERY_HASH_SIZE);
    d->t_ms = t_ms;
}

/* Sizes are unique, but for mail that an agent delivers again after the window of I24. */
static bool came_lately(const struct reference *r, const struct op *op, int64_t t_ms)
{
    for (size_t i = 0; i < r->arrivals.n; i++)
        if (r->arrivals.items[i].size == op->size &&
            (!op->has_delivery || t_ms - r->arrivals.items[i].t_ms < DELIVERY_WINDOW_MS))
            return true;
    return false;
}

static void apply_append(struct reference *r, struct ref_state *s, struct ref_box *box,
                         const struct op *op, int64_t t_ms)
{
    struct arrival *a;

    if (op->uid != box->uidnext)
        VIOLATED(r, "I1", "uid %u, not %u", op->uid, box->uidnext);
    if (!NOTE_ID(&r->messages, op->message))
        VIOLATED(r, "I19", "EMAILID of two messages");
    if (came_lately(r, op, t_ms))
        VIOLATED(r, "I22", "message of %u octets came in twice", op->size);
    check_delivery(r, op, t_ms);
    put_in(s, box,
           (struct ref_message){.uid = op->uid,
                                .size = op->size,
                                .id = op->message,
                                .modseq = s->seq,
                                .system = op->add.system,
                                .keywords = hash_keywords(&op->add)});
    a = VEC_PUSH(&r->arrivals);
    *a = (struct arrival){op->size, op->uid, s->seq, box->id, t_ms};
    r->judge.named(r->judge.ctx, r->account, op->message, op->size);
}

/* In the window before the record, or gone by an earlier op of it. */
static bool may_come_back(const struct reference *r, const struct ref_state *before, uint64_t id,
                          uint32_t *ret_size)
{
    int64_t t;

    if (state_gone(before->st, id, &t, ret_size))
        return true;
    for (size_t i = 0; i < r->leaving.n; i++)
        if (r->leaving.items[i].id == id) {
            *ret_size = r->leaving.items[i].size;
            return true;
        }
    return false;
}

static void apply_undelete(struct reference *r, struct ref_state *s, struct ref_box *box,
                           const struct op *op)
{
    uint32_t size;

    if (op->uid != box->uidnext)
        VIOLATED(r, "I1", "uid %u, not %u", op->uid, box->uidnext);
    if (!may_come_back(r, r->states.items[s->seq - 1], op->message, &size)) {
        VIOLATED(r, "I6", "undelete of a message that is not in the window");
        return;
    }
    put_in(s, box, (struct ref_message){op->uid, size, op->message, s->seq, 0, 0});
    r->judge.named(r->judge.ctx, r->account, op->message, size);
}

static void apply_copy(struct reference *r, struct ref_state *s, struct ref_box *box,
                       const struct op *op)
{
    struct ref_box *target = own_box(s, op->target);
    uint32_t uid, given = op->uid;

    if (!target) {
        VIOLATED(r, "I6", "copy into no mailbox");
        return;
    }
    if (given != target->uidnext)
        VIOLATED(r, "I1", "uid %u, not %u", given, target->uidnext);
    for (struct uidset_iter i = uidset_iter(&op->uids); uidset_next(&i, &uid);) {
        const struct ref_message *there = ref_message_by_uid(box, uid);
        struct ref_message m;

        if (!there) {
            VIOLATED(r, "I6", "copy of no message");
            continue;
        }
        m = *there;
        if (op->kind == OP_MOVE)
            take_out(s, box, uid, &m);
        m.uid = given++;
        m.modseq = s->seq;
        put_in(s, target, m);
    }
}

static void apply_flags(struct reference *r, struct ref_state *s, struct ref_box *box,
                        const struct op *op)
{
    uint64_t add = hash_keywords(&op->add), remove = hash_keywords(&op->remove);
    uint32_t uid;

    for (struct uidset_iter i = uidset_iter(&op->uids); uidset_next(&i, &uid);) {
        struct ref_message *m = (struct ref_message *)ref_message_by_uid(box, uid);
        uint8_t system;

        if (!m) {
            VIOLATED(r, "I6", "flags of no message");
            continue;
        }
        system = (uint8_t)((m->system | op->add.system) & ~op->remove.system);
        if (system == m->system && add == 0 && remove == 0)
            VIOLATED(r, "I5", "modseq raised for nothing");
        m->system = system;
        m->modseq = s->seq;
    }
}

static void apply_set(struct reference *r, struct ref_box *box, const struct op *op)
{
    unsigned i = op->key.n ? (unsigned)op->key.p[op->key.n - 1] - 'a' : REF_VALUES, n = 0;

    if (i >= REF_VALUES || op->has_uses) {
        VIOLATED(r, "I6", "a value that nobody has asked for: %.*s", SLICE_FMT(op->key));
        return;
    }
    if (slice_eq(slice_str(box->values[i]), op->value))
        VIOLATED(r, "I5", "set to what it was");
    if (slice_eq(op->value, S(REF_VALUE_FIRST)) && box->values[i][0])
        VIOLATED(r, "I22", "a value that must be the first is the second");
    snprintf(box->values[i], sizeof box->values[i], "%.*s", SLICE_FMT(op->value));
    for (size_t k = 0; k < REF_VALUES; k++)
        n += box->values[k][0] != '\0';
    if (n > REF_VALUES_MAX)
        VIOLATED(r, "I26", "%u annotations of %s", n, box->name);
}

static bool same_values(const struct ref_box *mine, const struct mailbox *box)
{
    for (size_t i = 0; i < REF_VALUES; i++) {
        char key[] = "/private/a";

        key[sizeof key - 2] = (char)('a' + i);
        if (!slice_eq(mailbox_value(box, slice_str(key)), slice_str(mine->values[i])))
            return false;
    }
    return true;
}

static void apply_op(struct reference *r, struct ref_state *s, const struct op *op, int64_t t_ms)
{
    struct ref_box *box = own_box(s, op->mailbox);
    size_t n = count_all(s);
    struct ref_message m;
    uint32_t uid;

    if (s->closed && op->kind != OP_NOOP)
        VIOLATED(r, "I32", "accepted after close");
    if (!box && op->kind >= OP_RENAME && op->kind <= OP_UNDELETE && op->kind != OP_SUBSCRIBE) {
        VIOLATED(r, "I6", "an op on no mailbox");
        return;
    }
    switch (op->kind) {
    case OP_CREATE:
        apply_create(r, s, op);
        break;
    case OP_RENAME:
        snprintf(box->name, sizeof box->name, "%.*s", SLICE_FMT(op->name));
        break;
    case OP_DELETE:
        apply_delete(r, s, box);
        break;
    case OP_SET:
        apply_set(r, box, op);
        break;
    case OP_APPEND:
        apply_append(r, s, box, op, t_ms);
        break;
    case OP_UNDELETE:
        apply_undelete(r, s, box, op);
        break;
    case OP_COPY:
    case OP_MOVE:
        apply_copy(r, s, box, op);
        break;
    case OP_FLAGS:
        apply_flags(r, s, box, op);
        break;
    case OP_EXPUNGE:
        for (struct uidset_iter i = uidset_iter(&op->uids); uidset_next(&i, &uid);)
            if (ref_message_by_uid(box, uid)) {
                take_out(s, box, uid, &m);
                *VEC_PUSH(&r->leaving) = m;
            }
        break;
    case OP_ACCOUNT:
        if (slice_eq(op->key, S("quota.bytes")))
            slice_to_u64(op->value, UINT64_MAX, &r->quota);
        break;
    case OP_CLOSE:
        while (s->n)
            apply_delete(r, s, &s->items[0]);
        s->closed = true;
        break;
    default:
        break;
    }
    if (op->kind == OP_MOVE && count_all(s) != n)
        VIOLATED(r, "I16", "a moved message is in two places or none");
}

/* --- records --------------------------------------------------------------------------------- */

static void check_sums(struct reference *r, const struct ref_state *s, const struct record *rec)
{
    for (size_t i = 0; i < rec->n_sums; i++) {
        const struct mailbox_sum *sum = &rec->sums[i];
        const struct ref_box *box = ref_box_by_id(s, sum->mailbox);
        uint32_t unseen = 0, deleted = 0;
        uint64_t bytes = 0;

        if (!box) {
            VIOLATED(r, "I20", "sum of no mailbox");
            continue;
        }
        for (size_t k = 0; k < box->n; k++) {
            unseen += !(box->items[k].system & FLAG_SEEN);
            deleted += !!(box->items[k].system & FLAG_DELETED);
            bytes += box->items[k].size;
        }
        if (sum->exists != box->n || sum->unseen != unseen || sum->deleted != deleted ||
            sum->bytes != bytes)
            VIOLATED(r, "I20", "sums of %s differ from a recount", box->name);
        if (sum->uidnext != box->uidnext)
            VIOLATED(r, "I2", "UIDNEXT %u, not %u", sum->uidnext, box->uidnext);
    }
}

static void compare_with_fold(struct reference *r, const struct ref_state *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->st->n_mailboxes; i++) {
        const struct mailbox *box = s->st->mailboxes[i];
        const struct ref_box *mine = ref_box_by_id(s, box->id);
        struct message m;

        if (!mine || mine->n != box->sum.exists || mine->uidnext != box->sum.uidnext ||
            mine->uidvalidity != box->uidvalidity || strcmp(mine->name, box->name) != 0 ||
            !same_values(mine, box)) {
            VIOLATED(r, "I6", "mailbox %s: reference and fold differ", box->name);
            continue;
        }
        for (struct mailbox_iter k = mailbox_iter(box, 0); mailbox_next(&k, &m); n++) {
            const struct ref_message *there = ref_message_by_uid(mine, m.uid);

            if (!there || there->id != m.id || there->size != m.size || there->modseq != m.modseq ||
                there->system != m.flags->system)
                VIOLATED(r, "I4", "uid %u: reference and fold differ", m.uid);
        }
    }
    if (n != count_all(s) || s->st->n_mailboxes != s->n || s->used != s->st->used_bytes)
        VIOLATED(r, "I6", "reference and fold differ at %llu", (unsigned long long)s->seq);
}

static void see_record(struct reference *r, struct slice head, uint64_t seq)
{
    struct ref_state *before = r->states.items[r->states.n - 1], *s = copy_state(before);
    CLEANUP(arena_done) struct arena arena = {0};
    struct error err = {0};
    struct record rec;

    if (seq != before->seq + 1 || record_decode(head, seq, &arena, &rec, &err) < 0) {
        VIOLATED(r, "I21", "record %llu after %llu %s", (unsigned long long)seq,
                 (unsigned long long)before->seq, err.text);
        free_state(s);
        return;
    }
    s->seq = seq;
    r->leaving.n = 0;
    for (size_t i = 0; i < rec.n_ops; i++)
        apply_op(r, s, &rec.ops[i], rec.t_ms);
    check_sums(r, s, &rec);
    if (rec.used_bytes != s->used)
        VIOLATED(r, "I26", "usage %llu, counted %llu", (unsigned long long)rec.used_bytes,
                 (unsigned long long)s->used);
    if (r->quota && s->used > r->quota && s->used > before->used)
        VIOLATED(r, "I26", "over quota");
    if (state_fold(state_ref(before->st), &rec, &s->st, &err) < 0) {
        VIOLATED(r, "I6", "record %llu does not fold: %s", (unsigned long long)seq, err.text);
        s->st = state_ref(before->st);
    }
    *VEC_PUSH(&r->states) = s;
    compare_with_fold(r, s);
}

void reference_observe(struct reference *r)
{
    struct key16 from = key_pair(r->account, reference_head(r) + 1);
    struct key16 to = key_pair(r->account, UINT64_MAX);
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    if (store_range(r->truth,
                    &(struct store_query){.table = STORE_LOG,
                                          .from = KEY_SLICE(from),
                                          .to = KEY_SLICE(to),
                                          .parts = STORE_HEAD,
                                          .level = STORE_MAJORITY},
                    &docs, NULL) < 0)
        return;
    for (size_t i = 0; i < docs.n; i++)
        see_record(r, docs.items[i].head, get_be64(docs.items[i].key.p + 8));
}

/* --- questions ------------------------------------------------------------------------------- */

uint64_t reference_head(const struct reference *r)
{
    return r->states.n - 1;
}

const struct ref_state *reference_at(const struct reference *r, uint64_t seq)
{
    return seq < r->states.n ? r->states.items[seq] : NULL;
}

bool reference_applied(const struct reference *r, uint32_t size)
{
    for (size_t i = 0; i < r->arrivals.n; i++)
        if (r->arrivals.items[i].size == size)
            return true;
    return false;
}

bool reference_applied_at(const struct reference *r, uint32_t size, uint64_t seq,
                          uint64_t *ret_mailbox, uint32_t *ret_uid)
{
    for (size_t i = 0; i < r->arrivals.n; i++)
        if (r->arrivals.items[i].size == size && r->arrivals.items[i].seq == seq) {
            *ret_mailbox = r->arrivals.items[i].mailbox;
            *ret_uid = r->arrivals.items[i].uid;
            return true;
        }
    return false;
}

void reference_compare(struct reference *r, const struct state *st, const char *whose)
{
    const struct ref_state *s = reference_at(r, st->seq);
    CLEANUP(buf_done) struct buf a = buf_make((size_t)64 << 20), b = buf_make((size_t)64 << 20);

    if (!s) {
        VIOLATED(r, "I25", "%s is at %llu, the log at %llu", whose, (unsigned long long)st->seq,
                 (unsigned long long)reference_head(r));
        return;
    }
    state_dump(st, &a);
    state_dump(s->st, &b);
    if (!slice_eq(buf_slice(&a), buf_slice(&b)))
        VIOLATED(r, "I6", "%s has another state at %llu", whose, (unsigned long long)st->seq);
}

struct reference *reference_new(struct store *truth, uint64_t account,
                                const struct ref_judge *judge)
{
    struct reference *r = NEW(struct reference);
    struct ref_state *first = NEW(struct ref_state);

    r->truth = truth;
    r->account = account;
    r->judge = *judge;
    first->st = state_new_empty(account);
    *VEC_PUSH(&r->states) = first;
    return r;
}

void reference_free(struct reference *r)
{
    for (size_t i = 0; i < r->states.n; i++)
        free_state(r->states.items[i]);
    VEC_DONE(&r->states);
    VEC_DONE(&r->arrivals);
    VEC_DONE(&r->messages);
    VEC_DONE(&r->boxes);
    VEC_DONE(&r->deliveries);
    VEC_DONE(&r->leaving);
    free(r);
}
