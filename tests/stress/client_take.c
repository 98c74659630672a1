/* SPDX-License-Identifier: MPL-2.0 */
/* Untagged responses: each changes what the client knows, or cannot be. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/stress/client.h"

static const char *const system_flags[] = {"\\Seen", "\\Answered", "\\Flagged", "\\Deleted",
                                           "\\Draft"};

/* --- FETCH ----------------------------------------------------------------------------------- */

struct item {
    uint32_t uid, flags, size;
    uint64_t modseq, token;
    bool has_flags;
    char date[32];
};

static uint32_t flag_bit(const char *word, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(system_flags); i++)
        if (strlen(system_flags[i]) == n && strncasecmp(word, system_flags[i], n) == 0)
            return 1u << i;
    if (n == 2 && strncmp(word, "$s", 2) == 0)
        return FLAG_BIT_SHARED;
    if (n > 2 && strncmp(word, "$k", 2) == 0)
        return FLAG_BIT_OWN(atoi(word + 2));
    return 0;
}

static const char *read_flags(const char *p, uint32_t *ret)
{
    *ret = 0;
    for (p++; *p && *p != ')';) {
        size_t n = strcspn(p, " )");

        *ret |= flag_bit(p, n);
        p += n + (p[n] == ' ');
    }
    return p + (*p == ')');
}

static const char *read_header(const char *p, uint64_t *ret_token)
{
    const char *name = NULL;
    size_t n = 0;

    if (*p == '{') {
        n = strtoul(p + 1, NULL, 10);
        p = strstr(p, "\r\n") + 2;
    } else if (*p == '"') {
        p++;
        n = strcspn(p, "\"") + 1;
    }
    name = memmem(p, n, "X-Stress:", 9);
    *ret_token = name ? strtoull(name + 9, NULL, 10) : 0;
    return p + n;
}

static const char *read_quoted(const char *p, char *out, size_t room)
{
    size_t n = strcspn(p + 1, "\"");

    snprintf(out, room, "%.*s", (int)n, p + 1);
    return p + n + 2;
}

/* One name and its value. */
static const char *read_item(struct client *c, const char *p, struct item *it)
{
    if (strncmp(p, "UID ", 4) == 0) {
        it->uid = (uint32_t)strtoul(p + 4, (char **)&p, 10);
    } else if (strncmp(p, "FLAGS ", 6) == 0) {
        it->has_flags = true;
        p = read_flags(p + 6, &it->flags);
    } else if (strncmp(p, "MODSEQ (", 8) == 0) {
        it->modseq = strtoull(p + 8, (char **)&p, 10);
        p++;
    } else if (strncmp(p, "RFC822.SIZE ", 12) == 0) {
        it->size = (uint32_t)strtoul(p + 12, (char **)&p, 10);
    } else if (strncmp(p, "INTERNALDATE ", 13) == 0) {
        p = read_quoted(p + 13, it->date, sizeof it->date);
    } else if (strncmp(p, "BODY[", 5) == 0) {
        p = read_header(p + strcspn(p, "]") + 2, &it->token);
    } else {
        ledger_fail(&c->conn, "syntax: an unknown item of FETCH: %.40s", p);
    }
    return p;
}

/* I1, I4, I9: uids ascend with sequence numbers, and a number keeps its uid. */
static void note_uid(struct client *c, size_t at, uint32_t uid)
{
    struct msg *m = &c->msgs.items[at];

    if (m->uid && m->uid != uid)
        ledger_fail(&c->conn, "I9: message %zu was uid %u, is %u", at + 1, m->uid, uid);
    m->uid = uid;
    for (size_t i = at; i > 0; i--)
        if (c->msgs.items[i - 1].uid) {
            if (c->msgs.items[i - 1].uid >= uid)
                ledger_fail(&c->conn, "I1: uid %u is behind %u", uid, c->msgs.items[i - 1].uid);
            break;
        }
    for (size_t i = at + 1; i < c->msgs.n; i++)
        if (c->msgs.items[i].uid) {
            if (c->msgs.items[i].uid <= uid)
                ledger_fail(&c->conn, "I1: uid %u is before %u", uid, c->msgs.items[i].uid);
            break;
        }
}

static bool is_storing(const struct client *c, uint32_t uid)
{
    for (size_t i = 0; i < c->storing.n; i++)
        if (c->storing.items[i] == uid)
            return true;
    return false;
}

/* Nobody else changes this client's keyword. */
static void check_own(struct client *c, uint32_t uid, uint32_t flags)
{
    int is = (flags & FLAG_BIT_OWN(c->id)) != 0, was = ledger_own(c->box, uid, c->id);

    if (is_storing(c, uid))
        return;
    if (was >= 0 && was != is)
        ledger_fail(&c->conn, "I12/I21: uid %u: $k%d is %s, but was %s by its only user", uid,
                    c->id, is ? "set" : "clear", was ? "set" : "cleared");
    if (was < 0)
        ledger_set_own(c->box, uid, c->id, is);
}

static void note_flags(struct client *c, struct msg *m, const struct item *it)
{
    if (it->modseq && it->modseq < m->modseq)
        ledger_fail(&c->conn, "I5: uid %u: MODSEQ goes back from %" PRIu64, m->uid, m->modseq);
    if (it->modseq && m->uid && it->has_flags)
        ledger_flags(&c->conn, c->box, m->uid, it->modseq, it->flags);
    if (it->has_flags && m->uid)
        check_own(c, m->uid, it->flags);
    if (it->has_flags) {
        m->flags = it->flags;
        if (it->modseq)
            m->modseq = it->modseq;
    }
}

static void take_fetch(struct client *c, uint32_t seq, const char *p)
{
    struct item it = {0};
    struct msg *m;

    if (seq == 0 || seq > c->msgs.n)
        ledger_fail(&c->conn, "I8: FETCH of message %u of %zu", seq, c->msgs.n);
    while (*p && *p != ')') {
        p = read_item(c, p, &it);
        p += *p == ' ';
    }
    m = &c->msgs.items[seq - 1];
    if (it.uid)
        note_uid(c, seq - 1, it.uid);
    if (it.has_flags || it.modseq)
        note_flags(c, m, &it);
    if (it.size && m->uid)
        ledger_content(&c->conn, c->box, m->uid, it.size, it.date, it.token);
    *VEC_PUSH(&c->fetched) = (struct msg){m->uid, it.has_flags ? it.flags : NO_FLAGS, it.modseq};
}

/* --- coming and going ------------------------------------------------------------------------ */

static void remove_at(struct client *c, size_t at)
{
    if (c->msgs.items[at].uid)
        ledger_gone(&c->conn, c->box, c->msgs.items[at].uid);
    memmove(c->msgs.items + at, c->msgs.items + at + 1,
            (c->msgs.n - at - 1) * sizeof *c->msgs.items);
    c->msgs.n--;
}

static void check_may_expunge(struct client *c)
{
    if (!c->busy)
        ledger_fail(&c->conn, "I7: EXPUNGE while no command is in progress");
    if (c->flags & TELLS_NO_EXPUNGE)
        ledger_fail(&c->conn, "I7: EXPUNGE during FETCH, STORE or SEARCH by sequence number");
}

static void take_expunge(struct client *c, uint32_t seq)
{
    check_may_expunge(c);
    if (c->qresync)
        ledger_fail(&c->conn, "RFC 7162 3.2.10: EXPUNGE after ENABLE QRESYNC");
    if (seq == 0 || seq > c->msgs.n)
        ledger_fail(&c->conn, "I8: EXPUNGE of message %u of %zu", seq, c->msgs.n);
    remove_at(c, seq - 1);
}

/* It is known, or it is one of those of which the uid is not known, at its place. */
static void vanish(struct client *c, uint32_t uid)
{
    size_t at = 0, unknown = SIZE_MAX;

    for (; at < c->msgs.n && c->msgs.items[at].uid != uid; at++) {
        uint32_t here = c->msgs.items[at].uid;

        if (here > uid)
            break;
        unknown = here ? SIZE_MAX : at;
    }
    if (at < c->msgs.n && c->msgs.items[at].uid == uid) {
        remove_at(c, at);
        return;
    }
    if (unknown == SIZE_MAX)
        ledger_fail(&c->conn, "RFC 7162 3.2.10: VANISHED %u, which is not there", uid);
    ledger_gone(&c->conn, c->box, uid);
    remove_at(c, unknown);
}

static void take_vanished(struct client *c, const char *text)
{
    CLEANUP_FREE char *copy = NULL;
    struct uids uids = {0};

    if (!c->qresync)
        ledger_fail(&c->conn, "RFC 7162 3.2.10: VANISHED without ENABLE QRESYNC");
    if (strncmp(text, "(EARLIER) ", 10) == 0) {
        client_parse_set(c, text + 10, &c->vanished);
        return;
    }
    check_may_expunge(c);
    client_parse_set(c, text, &uids);
    for (size_t i = uids.n; i > 0; i--)
        vanish(c, uids.items[i - 1]);
    VEC_DONE(&uids);
}

static void take_exists(struct client *c, uint32_t n)
{
    if (n < c->msgs.n)
        ledger_fail(&c->conn, "I8: EXISTS goes from %zu to %u", c->msgs.n, n);
    while (c->msgs.n < n)
        *VEC_PUSH(&c->msgs) = (struct msg){0};
}

/* --- the rest -------------------------------------------------------------------------------- */

static uint64_t number_after(const char *text, const char *name)
{
    const char *p = strstr(text, name);

    return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

static void take_status(struct client *c, const char *text)
{
    const char *p = strchr(text, '(');

    if (!p)
        ledger_fail(&c->conn, "syntax: STATUS");
    c->status = (struct status){.messages = (uint32_t)number_after(p, "MESSAGES "),
                                .uidnext = (uint32_t)number_after(p, "UIDNEXT "),
                                .uidvalidity = (uint32_t)number_after(p, "UIDVALIDITY "),
                                .unseen = (uint32_t)number_after(p, "UNSEEN "),
                                .modseq = number_after(p, "HIGHESTMODSEQ ")};
}

static void take_ok(struct client *c, const char *text)
{
    if (strncmp(text, "[COPYUID ", 9) == 0)
        snprintf(c->copyuid, sizeof c->copyuid, "%.*s", (int)strcspn(text + 1, "]"), text + 1);
    else if (strncmp(text, "[UIDVALIDITY ", 13) == 0)
        ledger_uidvalidity(&c->conn, c->box, (uint32_t)number_after(text, "UIDVALIDITY "));
    else if (strncmp(text, "[UIDNEXT ", 9) == 0)
        c->status.uidnext = (uint32_t)number_after(text, "UIDNEXT ");
    else if (strncmp(text, "[HIGHESTMODSEQ ", 15) == 0) {
        uint64_t modseq = number_after(text, "HIGHESTMODSEQ ");

        if (modseq < c->modseq)
            ledger_fail(&c->conn, "I10: HIGHESTMODSEQ goes back");
        c->modseq = modseq;
    }
}

static void take_search(struct client *c, const char *p)
{
    while (*p == ' ') {
        char *end;
        unsigned long n = strtoul(p + 1, &end, 10);

        if (end == p + 1)
            break; /* "(MODSEQ n)" */
        *VEC_PUSH(&c->found) = (uint32_t)n;
        p = end;
    }
}

static void take_numbered(struct client *c, const char *p)
{
    uint32_t n = (uint32_t)strtoul(p, (char **)&p, 10);

    if (strcmp(p, " EXISTS") == 0)
        take_exists(c, n);
    else if (strcmp(p, " EXPUNGE") == 0)
        take_expunge(c, n);
    else if (strncmp(p, " FETCH (", 8) == 0)
        take_fetch(c, n, p + 8);
    else if (strcmp(p, " RECENT") != 0 || n != 0) /* I13 */
        ledger_fail(&c->conn, "syntax: an unknown response");
}

void client_take(struct client *c, char *response, size_t n)
{
    const char *p = response + 2;

    if (response[0] != '*')
        ledger_fail(&c->conn, "syntax: an unexpected response");
    if (isdigit((unsigned char)*p))
        take_numbered(c, p);
    else if (strncmp(p, "VANISHED ", 9) == 0)
        take_vanished(c, p + 9);
    else if (strncmp(p, "SEARCH", 6) == 0)
        take_search(c, p + 6);
    else if (strncmp(p, "STATUS ", 7) == 0)
        take_status(c, p);
    else if (strncmp(p, "OK ", 3) == 0)
        take_ok(c, p + 3);
    else if (strncmp(p, "BYE", 3) == 0)
        ledger_fail(&c->conn, "an unexpected BYE");
}
