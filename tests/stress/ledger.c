/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/stress/ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "tests/stress/conn.h"

#define CONDITIONS 4u /* remembered of a message */

struct sight {
    uint64_t modseq;
    uint32_t flags;
};

struct condition {
    uint64_t since, after;
    uint32_t bit;
    bool on;
};

struct known {
    uint64_t token;   /* 0: not known */
    uint64_t gone_at; /* ledger_clock() when somebody was first told; 0: never */
    uint32_t size;
    char date[32];
    bool created, may_go, moved;
    uint32_t own_known, own;  /* bits by client */
    VEC(struct sight) sights; /* by modseq */
    struct condition conditions[CONDITIONS];
    unsigned conditions_n;
};

struct box {
    struct known *uids;
    uint32_t uids_n, top_uid, uidvalidity;
    uint64_t top_modseq;
};

static struct {
    pthread_mutex_t lock;
    struct box boxes[BOXES_MAX];
    int boxes_n;
    uint64_t seed, messages;
    _Atomic uint64_t clock;
    _Atomic uint64_t tokens[MESSAGE_CLASSES];
} ledger = {.lock = PTHREAD_MUTEX_INITIALIZER, .clock = 1};

void ledger_open(int boxes, uint64_t seed)
{
    ledger.boxes_n = boxes;
    ledger.seed = seed;
}

void ledger_close(void)
{
    for (int b = 0; b < ledger.boxes_n; b++) {
        for (uint32_t uid = 0; uid < ledger.boxes[b].uids_n; uid++)
            VEC_DONE(&ledger.boxes[b].uids[uid].sights);
        free(ledger.boxes[b].uids);
    }
}

void ledger_fail(const struct conn *conn, const char *fmt, ...)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    va_list args;

    pthread_mutex_lock(&once); /* never given back: one report is enough */
    fprintf(stderr, "BROKEN (seed %" PRIu64 "): ", ledger.seed);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    if (conn)
        conn_print_trace(conn);
    fflush(stderr);
    _exit(1);
}

uint64_t ledger_clock(void)
{
    return atomic_fetch_add(&ledger.clock, 1);
}

uint64_t ledger_new_token(enum message_class kind)
{
    return (atomic_fetch_add(&ledger.tokens[kind], 1) + 1) * MESSAGE_CLASSES + (uint64_t)kind;
}

/* Locked. */
static struct known *find(int box, uint32_t uid)
{
    struct box *b = &ledger.boxes[box];

    if (uid >= b->uids_n) {
        uint32_t n = MAX(uid + 1, b->uids_n * 2);

        b->uids = mem_realloc(b->uids, n, sizeof *b->uids);
        memset(b->uids + b->uids_n, 0, (n - b->uids_n) * sizeof *b->uids);
        b->uids_n = n;
    }
    return &b->uids[uid];
}

static struct known *lock(int box, uint32_t uid)
{
    pthread_mutex_lock(&ledger.lock);
    return find(box, uid);
}

static void unlock(void)
{
    pthread_mutex_unlock(&ledger.lock);
}

enum message_class ledger_class(int box, uint32_t uid)
{
    const struct known *k = lock(box, uid);
    enum message_class kind =
        k->token ? (enum message_class)(k->token % MESSAGE_CLASSES) : MESSAGE_UNKNOWN;

    unlock();
    return kind;
}

void ledger_uidvalidity(const struct conn *c, int box, uint32_t uidvalidity)
{
    struct box *b = &ledger.boxes[box];

    pthread_mutex_lock(&ledger.lock);
    if (uidvalidity == 0 || (b->uidvalidity && b->uidvalidity != uidvalidity))
        ledger_fail(c, "I3: UIDVALIDITY of box %d was %u, is %u", box, b->uidvalidity, uidvalidity);
    b->uidvalidity = uidvalidity;
    unlock();
}

uint32_t ledger_top_uid(int box)
{
    uint32_t top;

    pthread_mutex_lock(&ledger.lock);
    top = ledger.boxes[box].top_uid;
    unlock();
    return top;
}

uint64_t ledger_top_modseq(int box)
{
    uint64_t top;

    pthread_mutex_lock(&ledger.lock);
    top = ledger.boxes[box].top_modseq;
    unlock();
    return top;
}

/* Locked. */
static void raise_modseq(int box, uint64_t modseq)
{
    ledger.boxes[box].top_modseq = MAX(ledger.boxes[box].top_modseq, modseq);
}

void ledger_note_modseq(int box, uint64_t modseq)
{
    pthread_mutex_lock(&ledger.lock);
    raise_modseq(box, modseq);
    unlock();
}

/* --- coming and going ------------------------------------------------------------------------ */

/* Locked. */
static void create(const struct conn *c, int box, uint32_t uid, uint64_t token, uint32_t top)
{
    struct known *k = find(box, uid);

    if (uid <= top)
        ledger_fail(c, "I1: box %d: uid %u was given after %u had been told", box, uid, top);
    if (k->created)
        ledger_fail(c, "I1: box %d: uid %u was given twice", box, uid);
    if (k->token && token && k->token != token)
        ledger_fail(c, "I15: box %d: uid %u is message %" PRIu64 ", said to be %" PRIu64, box, uid,
                    k->token, token);
    k->created = true;
    k->token = token;
    ledger.boxes[box].top_uid = MAX(ledger.boxes[box].top_uid, uid);
    ledger.messages++;
}

void ledger_created(const struct conn *c, int box, uint32_t uid, uint64_t token, uint32_t top)
{
    pthread_mutex_lock(&ledger.lock);
    create(c, box, uid, token, top);
    unlock();
}

void ledger_copied(const struct conn *c, int from, uint32_t uid, int to, uint32_t new_uid,
                   uint32_t top, uint64_t begun, bool moved)
{
    struct known *k = lock(from, uid);
    uint64_t token = k->token;

    if (k->gone_at && k->gone_at < begun)
        ledger_fail(c, "I9: box %d: uid %u was copied after it was gone", from, uid);
    if (k->moved)
        ledger_fail(c, "I16: box %d: uid %u was copied though it had been moved", from, uid);
    create(c, to, new_uid, token, top);
    if (moved) {
        k = find(from, uid);
        k->may_go = k->moved = true;
    }
    unlock();
}

void ledger_may_go(int box, uint32_t uid)
{
    lock(box, uid)->may_go = true;
    unlock();
}

void ledger_gone(const struct conn *c, int box, uint32_t uid)
{
    struct known *k = lock(box, uid);

    if (!k->may_go)
        ledger_fail(c, "I21: box %d: uid %u is gone, and nobody wanted it", box, uid);
    if (!k->gone_at)
        k->gone_at = ledger_clock();
    unlock();
}

void ledger_shown(const struct conn *c, int box, uint32_t uid, uint64_t begun)
{
    const struct known *k = lock(box, uid);

    if (k->gone_at && k->gone_at < begun)
        ledger_fail(c, "I1: box %d: uid %u is shown after it was gone", box, uid);
    unlock();
}

/* --- flags ----------------------------------------------------------------------------------- */

static void check_condition(const struct conn *c, int box, uint32_t uid, const struct sight *s,
                            const struct condition *on)
{
    if (s->modseq > on->since && s->modseq <= on->after && !(s->flags & on->bit) == on->on)
        ledger_fail(c,
                    "I12: box %d: uid %u changed at %" PRIu64
                    " before a STORE UNCHANGEDSINCE %" PRIu64 " that was not refused",
                    box, uid, s->modseq, on->since);
}

/* Where `modseq` is, or belongs, in the list. */
static size_t place(const struct known *k, uint64_t modseq)
{
    size_t at = k->sights.n;

    while (at && k->sights.items[at - 1].modseq >= modseq)
        at--;
    return at;
}

void ledger_flags(const struct conn *c, int box, uint32_t uid, uint64_t modseq, uint32_t flags)
{
    struct known *k = lock(box, uid);
    size_t at = place(k, modseq);
    struct sight s = {modseq, flags};

    raise_modseq(box, modseq);
    if (at < k->sights.n && k->sights.items[at].modseq == modseq) {
        if (k->sights.items[at].flags != flags)
            ledger_fail(c,
                        "I5: box %d: uid %u at MODSEQ %" PRIu64 " has flags %x for one, %x for "
                        "another client",
                        box, uid, modseq, k->sights.items[at].flags, flags);
        unlock();
        return;
    }
    for (unsigned i = 0; i < MIN(k->conditions_n, CONDITIONS); i++)
        check_condition(c, box, uid, &s, &k->conditions[i]);
    (void)VEC_PUSH(&k->sights);
    memmove(&k->sights.items[at + 1], &k->sights.items[at], (k->sights.n - 1 - at) * sizeof s);
    k->sights.items[at] = s;
    unlock();
}

void ledger_conditional(const struct conn *c, int box, uint32_t uid, uint64_t since, uint64_t after,
                        uint32_t bit, bool on)
{
    struct known *k = lock(box, uid);
    struct condition *condition = &k->conditions[k->conditions_n++ % CONDITIONS];

    *condition = (struct condition){since, after, bit, on};
    for (size_t i = 0; i < k->sights.n; i++)
        check_condition(c, box, uid, &k->sights.items[i], condition);
    unlock();
}

void ledger_content(const struct conn *c, int box, uint32_t uid, uint32_t size, const char *date,
                    uint64_t token)
{
    struct known *k = lock(box, uid);

    if (k->size && (k->size != size || strcmp(k->date, date) != 0))
        ledger_fail(c, "I4: box %d: uid %u was %u octets of %s, is %u of %s", box, uid, k->size,
                    k->date, size, date);
    if (token && k->token && k->token != token)
        ledger_fail(c, "I4: box %d: uid %u was message %" PRIu64 ", is %" PRIu64, box, uid,
                    k->token, token);
    k->size = size;
    snprintf(k->date, sizeof k->date, "%s", date);
    if (token)
        k->token = token;
    unlock();
}

int ledger_own(int box, uint32_t uid, int client)
{
    const struct known *k = lock(box, uid);
    int on = k->own_known >> client & 1 ? (int)(k->own >> client & 1) : -1;

    unlock();
    return on;
}

void ledger_set_own(int box, uint32_t uid, int client, int on)
{
    struct known *k = lock(box, uid);
    uint32_t bit = 1u << client;

    k->own_known = on < 0 ? k->own_known & ~bit : k->own_known | bit;
    k->own = on > 0 ? k->own | bit : k->own & ~bit;
    unlock();
}

/* --- the account of all ---------------------------------------------------------------------- */

static void audit_box(const struct conn *c, int box, const struct truth *list, uint32_t n,
                      uint8_t *places, uint64_t places_n)
{
    const struct box *b = &ledger.boxes[box];
    uint32_t i = 0;

    for (uint32_t uid = 1; uid < b->uids_n; uid++) {
        const struct known *k = &b->uids[uid];
        bool there = i < n && list[i].uid == uid;

        i += there;
        if (there && !k->created)
            ledger_fail(c, "I22: box %d: nobody made uid %u", box, uid);
        if (there && (k->gone_at || k->moved))
            ledger_fail(c, "I16: box %d: uid %u is there, and was %s", box, uid,
                        k->moved ? "moved" : "gone");
        if (!there && k->created && !k->may_go)
            ledger_fail(c, "I21: box %d: uid %u is not there, and nobody wanted it gone", box, uid);
        if (there && k->token % MESSAGE_CLASSES == MESSAGE_MOVABLE &&
            k->token / MESSAGE_CLASSES < places_n)
            places[k->token / MESSAGE_CLASSES]++;
    }
    if (i < n)
        ledger_fail(c, "I22: box %d: nobody made uid %u", box, list[i].uid);
}

void ledger_audit(const struct conn *c, struct truth *const lists[], const uint32_t n[])
{
    uint64_t movable = atomic_load(&ledger.tokens[MESSAGE_MOVABLE]) + 1;
    CLEANUP_FREE uint8_t *places = mem_alloc(movable);

    memset(places, 0, movable);
    pthread_mutex_lock(&ledger.lock);
    for (int box = 0; box < ledger.boxes_n; box++)
        audit_box(c, box, lists[box], n[box], places, movable);
    for (uint64_t i = 1; i < movable; i++)
        if (places[i] != 1)
            ledger_fail(c, "I16: message %" PRIu64 ", which was only ever moved, is in %d places",
                        i * MESSAGE_CLASSES + MESSAGE_MOVABLE, places[i]);
    unlock();
}

uint64_t ledger_messages(void)
{
    uint64_t n;

    pthread_mutex_lock(&ledger.lock);
    n = ledger.messages;
    unlock();
    return n;
}
