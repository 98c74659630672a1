/* SPDX-License-Identifier: MPL-2.0 */
/* The random things that a client does, and what must follow from the answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/stress/client.h"

#define SET_TEXT 1024

/* Up to max messages that it knows, of a class (or MESSAGE_UNKNOWN: any). */
static void pick(struct client *c, enum message_class kind, size_t max, struct uids *ret)
{
    size_t want = 1 + client_roll(c, max);

    ret->n = 0;
    for (size_t tries = 0; c->msgs.n && tries < 4 * want && ret->n < want; tries++) {
        uint32_t uid = c->msgs.items[client_roll(c, c->msgs.n)].uid;
        bool doubled = false;

        for (size_t i = 0; i < ret->n; i++)
            doubled |= ret->items[i] == uid;
        if (uid && !doubled && (kind == MESSAGE_UNKNOWN || ledger_class(c->box, uid) == kind))
            *VEC_PUSH(ret) = uid;
    }
}

/* As uids or as sequence numbers. */
static void print_set(const struct client *c, const struct uids *list, bool by_uid, char *text)
{
    size_t n = 0;

    for (size_t i = 0; i < list->n; i++) {
        uint32_t number = list->items[i];

        for (size_t at = 0; !by_uid && at < c->msgs.n; at++)
            if (c->msgs.items[at].uid == list->items[i])
                number = (uint32_t)at + 1;
        n += (size_t)snprintf(text + n, SET_TEXT - n, "%s%u", i ? "," : "", number);
    }
}

static bool has(const struct uids *list, uint32_t uid)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i] == uid)
            return true;
    return false;
}

/* --- STORE ----------------------------------------------------------------------------------- */

struct store {
    struct uids uids;
    uint32_t bits;
    const char *name;
    bool on, silent, by_uid, own;
    uint64_t since;   /* 0: whatever it is */
    uint64_t top;     /* MODSEQ that somebody knew when it began */
    struct uids late; /* MODIFIED */
};

/* The last that was said of the message: its flags if `flags`, else its MODSEQ. */
static const struct msg *last_fetched(const struct client *c, uint32_t uid, bool flags)
{
    for (size_t i = c->fetched.n; i > 0; i--) {
        const struct msg *f = &c->fetched.items[i - 1];

        if (f->uid == uid && (flags ? f->flags != NO_FLAGS : f->modseq != 0))
            return f;
    }
    return NULL;
}

/* With .SILENT what was said itself follows, unless other flags are told. */
static void apply_silent(struct client *c, const struct store *s, struct msg *m)
{
    const struct msg *f = last_fetched(c, m->uid, false);

    if (!s->silent || last_fetched(c, m->uid, true))
        return;
    m->flags = s->on ? m->flags | s->bits : m->flags & ~s->bits;
    if (f) {
        m->modseq = MAX(m->modseq, f->modseq);
        ledger_flags(&c->conn, c->box, m->uid, m->modseq, m->flags);
    }
}

static void check_stored(struct client *c, const struct store *s, uint32_t uid)
{
    const struct msg *f = last_fetched(c, uid, true), *any = last_fetched(c, uid, false);
    int was = s->own ? ledger_own(c->box, uid, c->id) : -1;

    if (s->own && f && !(f->flags & s->bits) == s->on)
        ledger_fail(&c->conn, "I21: uid %u: a STORE that was answered OK has done nothing", uid);
    if (was >= 0 && was != s->on && any && any->modseq <= s->top)
        ledger_fail(&c->conn,
                    "I5: uid %u: a change has MODSEQ %" PRIu64 ", others knew %" PRIu64
                    " before it",
                    uid, any->modseq, s->top);
    if (s->own && s->since && any)
        ledger_conditional(&c->conn, c->box, uid, s->since, any->modseq, s->bits, s->on);
    if (s->own)
        ledger_set_own(c->box, uid, c->id, s->on);
}

static void stored(struct client *c, struct store *s)
{
    if (strncmp(c->code, "MODIFIED ", 9) == 0)
        client_parse_set(c, c->code + 9, &s->late);
    for (size_t i = 0; i < s->late.n && !s->by_uid; i++) {
        if (s->late.items[i] > c->msgs.n)
            ledger_fail(&c->conn, "I12: MODIFIED names message %u of %zu", s->late.items[i],
                        c->msgs.n);
        s->late.items[i] = c->msgs.items[s->late.items[i] - 1].uid;
    }
    for (size_t i = 0; i < s->uids.n; i++) {
        uint32_t uid = s->uids.items[i];
        struct msg *m = client_find(c, uid);

        if (!c->ok && s->own)
            ledger_set_own(c->box, uid, c->id, -1);
        if (c->ok && m && !has(&s->late, uid)) {
            check_stored(c, s, uid);
            apply_silent(c, s, m);
        } else if (s->own && !m) {
            ledger_set_own(c->box, uid, c->id, -1);
        }
    }
}

/* What a NO leaves open is asked for. */
static void look_again(struct client *c)
{
    if (c->msgs.n)
        client_command(c, 0, "UID FETCH 1:* (FLAGS MODSEQ)");
}

static void run_store(struct client *c, struct store *s)
{
    char set[SET_TEXT], since[64] = "";

    if (s->uids.n) {
        print_set(c, &s->uids, s->by_uid, set);
        if (s->since)
            snprintf(since, sizeof since, "(UNCHANGEDSINCE %" PRIu64 ") ", s->since);
        for (size_t i = 0; s->own && i < s->uids.n; i++)
            *VEC_PUSH(&c->storing) = s->uids.items[i];
        s->top = ledger_top_modseq(c->box);
        client_command(c, MAY_REFUSE | (s->by_uid ? 0 : TELLS_NO_EXPUNGE),
                       "%sSTORE %s %s%cFLAGS%s (%s)", s->by_uid ? "UID " : "", set, since,
                       s->on ? '+' : '-', s->silent ? ".SILENT" : "", s->name);
        stored(c, s);
        c->storing.n = 0;
        if (!c->ok)
            look_again(c);
    }
    VEC_DONE(&s->uids);
    VEC_DONE(&s->late);
}

static void store_own(struct client *c)
{
    char name[16];
    struct store s = {.bits = FLAG_BIT_OWN(c->id),
                      .name = name,
                      .on = client_roll(c, 2),
                      .silent = client_roll(c, 2),
                      .by_uid = client_roll(c, 2),
                      .own = true};
    const struct msg *m;

    snprintf(name, sizeof name, "$k%d", c->id);
    pick(c, MESSAGE_UNKNOWN, 6, &s.uids);
    if (s.uids.n && client_roll(c, 3) == 0) {
        s.uids.n = 1;
        m = client_find(c, s.uids.items[0]);
        /* one less must be refused */
        s.since = m->modseq > 1 && client_roll(c, 3) == 0 ? m->modseq - 1 : m->modseq;
        s.on = !(m->flags & s.bits);
    }
    run_store(c, &s);
}

static void store_shared(struct client *c)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } flags[] = {{"\\Seen", 1},
                 {"\\Answered", 2},
                 {"\\Flagged", 4},
                 {"$s", FLAG_BIT_SHARED},
                 {"\\Seen $s", 1 | FLAG_BIT_SHARED}};
    size_t i = client_roll(c, ARRAY_LEN(flags));
    struct store s = {.bits = flags[i].bits,
                      .name = flags[i].name,
                      .on = client_roll(c, 2),
                      .silent = client_roll(c, 2),
                      .by_uid = client_roll(c, 2)};

    pick(c, MESSAGE_UNKNOWN, 10, &s.uids);
    run_store(c, &s);
}

static void store_deleted(struct client *c)
{
    struct store s = {.bits = FLAG_BIT_DELETED,
                      .name = "\\Deleted",
                      .on = client_roll(c, 4) != 0,
                      .silent = client_roll(c, 2),
                      .by_uid = true};

    pick(c, MESSAGE_DELETABLE, 8, &s.uids);
    for (size_t i = 0; i < s.uids.n; i++)
        ledger_may_go(c->box, s.uids.items[i]);
    run_store(c, &s);
}

static void expunge(struct client *c)
{
    struct uids uids = {0};
    char set[SET_TEXT];

    pick(c, MESSAGE_DELETABLE, 10, &uids);
    print_set(c, &uids, true, set);
    if (uids.n && client_roll(c, 2))
        client_command(c, 0, "UID EXPUNGE %s", set);
    else
        client_command(c, 0, "EXPUNGE");
    VEC_DONE(&uids);
}

/* --- COPY, MOVE, APPEND ---------------------------------------------------------------------- */

static void take_copyuid(struct client *c, int from, int to, const struct uids *wanted,
                         uint32_t top, uint64_t begun, bool moved)
{
    struct uids source = {0}, target = {0};
    char *end;
    uint32_t uidvalidity;

    if (strncmp(c->copyuid, "COPYUID ", 8) != 0)
        return; /* they were gone */
    uidvalidity = (uint32_t)strtoul(c->copyuid + 8, &end, 10);
    ledger_uidvalidity(&c->conn, to, uidvalidity);
    client_parse_set(c, end + 1, &source);
    client_parse_set(c, strchr(end + 1, ' ') + 1, &target);
    if (source.n != target.n)
        ledger_fail(&c->conn, "I15: COPYUID names %zu messages and %zu copies", source.n, target.n);
    for (size_t i = 0; i < source.n; i++) {
        if (!has(wanted, source.items[i]))
            ledger_fail(&c->conn, "I15: COPYUID names %u, which was not to be copied",
                        source.items[i]);
        if (i && (source.items[i] <= source.items[i - 1] || target.items[i] <= target.items[i - 1]))
            ledger_fail(&c->conn, "I15: COPYUID is out of order");
        ledger_copied(&c->conn, from, source.items[i], to, target.items[i], top, begun, moved);
    }
    VEC_DONE(&source);
    VEC_DONE(&target);
}

static void copy_or_move(struct client *c, bool move)
{
    int to = (int)client_roll(c, (uint64_t)c->world->boxes), from = c->box;
    bool by_uid = client_roll(c, 4) != 0;
    struct uids uids = {0};
    char set[SET_TEXT];
    uint32_t top;

    pick(c, move ? MESSAGE_MOVABLE : MESSAGE_COPYABLE, 5, &uids);
    if (uids.n && to != from && (move || c->msgs.n < c->world->box_max)) {
        for (size_t i = 0; move && i < uids.n; i++)
            ledger_may_go(from, uids.items[i]);
        print_set(c, &uids, by_uid, set);
        top = ledger_top_uid(to);
        client_command(c, MAY_REFUSE, "%s%s %s Stress%d", by_uid ? "UID " : "",
                       move ? "MOVE" : "COPY", set, to);
        if (c->ok)
            take_copyuid(c, from, to, &uids, top, c->begun, move);
    }
    VEC_DONE(&uids);
}

#define APPENDS_MAX 4

static int make_message(struct client *c, uint64_t token, char *out, size_t room)
{
    static const char line[] = "a line that is not long and says nothing\r\n";
    uint64_t lines = client_roll(c, 20);
    int n = snprintf(out, room,
                     "From: c%d@example.org\r\nSubject: stress\r\nX-Stress: %" PRIu64 "\r\n\r\n",
                     c->id, token);

    for (uint64_t i = 0; i < lines; i++)
        n += snprintf(out + n, room - (size_t)n, "%s", line);
    return n;
}

static void append(struct client *c)
{
    int to = (int)client_roll(c, (uint64_t)c->world->boxes);
    size_t n = c->can_multiappend ? 1 + client_roll(c, APPENDS_MAX) : 1, at = 0;
    uint64_t tokens[APPENDS_MAX];
    uint32_t top = ledger_top_uid(to);
    struct uids uids = {0};
    char text[8192], message[2048];

    for (size_t i = 0; i < n; i++) {
        enum message_class kind = c->msgs.n > c->world->box_max / 2
                                      ? MESSAGE_DELETABLE
                                      : (enum message_class)client_roll(c, MESSAGE_CLASSES);
        int size;

        tokens[i] = ledger_new_token(kind);
        size = make_message(c, tokens[i], message, sizeof message);
        at += (size_t)snprintf(text + at, sizeof text - at, " %s{%d+}\r\n%s",
                               client_roll(c, 2) ? "(\\Seen $s) " : "", size, message);
    }
    client_command(c, 0, "APPEND Stress%d%s", to, text);
    if (strncmp(c->code, "APPENDUID ", 10) != 0)
        ledger_fail(&c->conn, "I15: no APPENDUID");
    client_parse_set(c, strchr(c->code + 10, ' ') + 1, &uids);
    if (uids.n != n)
        ledger_fail(&c->conn, "I15: APPENDUID names %zu of %zu messages", uids.n, n);
    for (size_t i = 0; i < n; i++)
        ledger_created(&c->conn, to, uids.items[i], tokens[i], i ? uids.items[i - 1] : top);
    VEC_DONE(&uids);
}

/* --- looking --------------------------------------------------------------------------------- */

static void fetch_flags(struct client *c)
{
    uint64_t from = client_roll(c, c->msgs.n), to = from + client_roll(c, c->msgs.n - from);

    client_command(c, TELLS_NO_EXPUNGE | MAY_REFUSE,
                   "FETCH %" PRIu64 ":%" PRIu64 " (UID FLAGS MODSEQ)", from + 1, to + 1);
}

static void fetch_contents(struct client *c)
{
    struct uids uids = {0};
    char set[SET_TEXT];

    pick(c, MESSAGE_UNKNOWN, 8, &uids);
    print_set(c, &uids, true, set);
    if (uids.n)
        client_command(c, 0,
                       "UID FETCH %s (UID RFC822.SIZE INTERNALDATE "
                       "BODY.PEEK[HEADER.FIELDS (X-STRESS)])",
                       set);
    VEC_DONE(&uids);
}

static void search(struct client *c)
{
    client_command(c, 0, "UID SEARCH KEYWORD $k%d", c->id);
    for (size_t i = 0; i < c->found.n; i++)
        if (ledger_own(c->box, c->found.items[i], c->id) == 0)
            ledger_fail(&c->conn, "I21: SEARCH finds uid %u without its keyword",
                        c->found.items[i]);
    for (size_t i = 0; i < c->msgs.n; i++) {
        uint32_t uid = c->msgs.items[i].uid;

        if (uid && ledger_own(c->box, uid, c->id) > 0 && !has(&c->found, uid))
            ledger_fail(&c->conn, "I21: SEARCH does not find uid %u by its keyword", uid);
    }
}

static void status(struct client *c)
{
    int box = (int)client_roll(c, (uint64_t)c->world->boxes);
    uint32_t top_uid = ledger_top_uid(box);
    uint64_t top_modseq = ledger_top_modseq(box);

    client_command(c, 0, "STATUS Stress%d (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)",
                   box);
    ledger_uidvalidity(&c->conn, box, c->status.uidvalidity);
    if (c->status.uidnext <= top_uid)
        ledger_fail(&c->conn, "I2: UIDNEXT %u after uid %u was told", c->status.uidnext, top_uid);
    if (c->status.modseq < top_modseq)
        ledger_fail(&c->conn, "I20: HIGHESTMODSEQ %" PRIu64 " after MODSEQ %" PRIu64,
                    c->status.modseq, top_modseq);
}

static void noop(struct client *c)
{
    client_command(c, 0, "NOOP");
    for (size_t i = 0; i < c->msgs.n; i++)
        if (c->msgs.items[i].uid)
            ledger_shown(&c->conn, c->box, c->msgs.items[i].uid, c->begun);
}

static void idle(struct client *c)
{
    client_idle(c);
    if (c->world->lonely)
        return;
    client_listen(c, (int)client_roll(c, 60));
    client_idle_end(c);
}

static void leave(struct client *c)
{
    int box = c->box;

    if (client_roll(c, 2))
        client_select(c, (int)client_roll(c, (uint64_t)c->world->boxes));
    box = c->box;
    /* a cache that is made by SELECT of another */
    client_leave(c, client_roll(c, 2));
    client_connect(c);
    client_select(c, box);
}

static void move(struct client *c)
{
    copy_or_move(c, true);
}

static void copy(struct client *c)
{
    copy_or_move(c, false);
}

static void select_other(struct client *c)
{
    client_select(c, (int)client_roll(c, (uint64_t)c->world->boxes));
}

static const struct {
    unsigned weight;
    bool needs_messages;
    void (*run)(struct client *c);
} acts[] = {
    {20, true, store_own}, {15, true, store_shared}, {8, true, store_deleted},
    {5, false, expunge},   {12, false, append},      {6, true, move},
    {4, true, copy},       {8, true, fetch_flags},   {5, true, fetch_contents},
    {3, false, search},    {3, false, status},       {6, false, noop},
    {4, false, idle},      {3, false, select_other}, {1, false, leave},
};

void client_act(struct client *c)
{
    unsigned all = 0;
    uint64_t dice;

    if (c->idling) {
        if (client_roll(c, 2))
            return;
        client_idle_end(c);
    }
    client_learn_new(c);
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        all += acts[i].weight;
    dice = client_roll(c, all);
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        if (dice < acts[i].weight) {
            if (c->msgs.n || !acts[i].needs_messages)
                acts[i].run(c);
            return;
        }
        dice -= acts[i].weight;
    }
}
