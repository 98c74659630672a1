/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/stress/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"

#define ANSWER_MS 60000

uint64_t client_roll(struct client *c, uint64_t n)
{
    uint64_t z = (c->dice += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

void client_init(struct client *c, const struct world *world, int id, uint64_t seed)
{
    *c = (struct client){.world = world, .id = id, .box = -1, .conn.fd = -1};
    c->conn.print = world->print;
    c->dice = seed * 1000003 + (uint64_t)id * 7919;
}

void client_done(struct client *c)
{
    conn_free(&c->conn);
    for (int i = 0; i < BOXES_MAX; i++)
        VEC_DONE(&c->caches[i].msgs);
    VEC_DONE(&c->msgs);
    VEC_DONE(&c->fetched);
    VEC_DONE(&c->found);
    VEC_DONE(&c->vanished);
    VEC_DONE(&c->storing);
}

struct msg *client_find(struct client *c, uint32_t uid)
{
    for (size_t i = 0; i < c->msgs.n; i++)
        if (c->msgs.items[i].uid == uid)
            return &c->msgs.items[i];
    return NULL;
}

void client_parse_set(struct client *c, const char *text, struct uids *list)
{
    char *end;

    do {
        unsigned long first = strtoul(text, &end, 10), last = first;

        if (end == text || first == 0)
            ledger_fail(&c->conn, "syntax: no set: %s", text);
        if (*end == ':')
            last = strtoul(end + 1, &end, 10);
        for (unsigned long n = MIN(first, last); n <= MAX(first, last); n++)
            *VEC_PUSH(list) = (uint32_t)n;
        text = end + 1;
    } while (*end == ',');
}

/* --- commands -------------------------------------------------------------------------------- */

static char *next_response(struct client *c, int ms, size_t *ret_n)
{
    char *response = conn_read(&c->conn, ms, ret_n);

    if (!response && c->conn.fd < 0)
        ledger_fail(&c->conn, "the server has hung up");
    return response;
}

static void send_command(struct client *c, unsigned flags, const char *fmt, va_list args)
{
    char text[16384];
    int n;

    snprintf(c->tagged, sizeof c->tagged, "c%d.%u ", c->id, ++c->tag);
    n = snprintf(text, sizeof text, "%s", c->tagged);
    n += vsnprintf(text + n, sizeof text - (size_t)n - 3, fmt, args);
    if ((size_t)n >= sizeof text - 3)
        abort();
    memcpy(text + n, "\r\n", 3);
    c->busy = true;
    c->flags = flags;
    c->code[0] = c->copyuid[0] = '\0';
    c->fetched.n = c->found.n = c->vanished.n = 0;
    c->commands++;
    c->begun = ledger_clock();
    conn_send(&c->conn, text, (size_t)n + 2);
}

void client_begin(struct client *c, unsigned flags, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    send_command(c, flags, fmt, args);
    va_end(args);
}

/* "OK [code] text" */
static void take_tagged(struct client *c, const char *text)
{
    size_t n;

    c->busy = false;
    c->ok = strncmp(text, "OK", 2) == 0;
    if (strncmp(text, "BAD", 3) == 0)
        ledger_fail(&c->conn, "a command that is right was answered BAD");
    if (!c->ok && !(c->flags & MAY_REFUSE))
        ledger_fail(&c->conn, "a command that cannot fail has failed");
    text += 3;
    if (*text != '[')
        return;
    n = strcspn(text + 1, "]");
    if (n >= sizeof c->code)
        ledger_fail(&c->conn, "a response code that is too long");
    memcpy(c->code, text + 1, n);
    c->code[n] = '\0';
    if (strncmp(c->code, "COPYUID ", 8) == 0)
        memcpy(c->copyuid, c->code, n + 1);
    if (strncmp(c->code, "HIGHESTMODSEQ ", 14) == 0) {
        uint64_t modseq = strtoull(c->code + 14, NULL, 10);

        if (modseq < c->modseq)
            ledger_fail(&c->conn, "I10: HIGHESTMODSEQ goes back");
        c->modseq = modseq;
    }
}

bool client_finish(struct client *c)
{
    size_t head = strlen(c->tagged), n;

    while (c->busy) {
        char *response = next_response(c, ANSWER_MS, &n);

        if (!response)
            ledger_fail(&c->conn, "no answer within %d s", ANSWER_MS / 1000);
        if (strncmp(response, c->tagged, head) == 0)
            take_tagged(c, response + head);
        else
            client_take(c, response, n);
    }
    return c->ok;
}

bool client_command(struct client *c, unsigned flags, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    send_command(c, flags, fmt, args);
    va_end(args);
    return client_finish(c);
}

void client_listen(struct client *c, int ms)
{
    int64_t end = clock_mono_ms() + ms;
    size_t n;

    do {
        int64_t left = end - clock_mono_ms();
        char *response = next_response(c, left > 0 ? (int)left : 0, &n);

        if (response)
            client_take(c, response, n);
    } while (clock_mono_ms() < end);
}

void client_idle(struct client *c)
{
    size_t n;
    char *response;

    client_begin(c, 0, "IDLE");
    do {
        response = next_response(c, ANSWER_MS, &n);
        if (!response)
            ledger_fail(&c->conn, "IDLE is not answered");
        if (response[0] != '+')
            client_take(c, response, n);
    } while (response[0] != '+');
    c->idling = true;
}

void client_idle_end(struct client *c)
{
    if (!c->idling)
        return;
    c->idling = false;
    conn_send(&c->conn, "DONE\r\n", 6);
    client_finish(c);
}

/* --- coming and going ------------------------------------------------------------------------ */

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        if (p[-1] == ' ' && (p[n] == ' ' || p[n] == '\0' || p[n] == ']'))
            return true;
    return false;
}

/* LOGIN's OK has them. */
static void note_capabilities(struct client *c)
{
    c->can_qresync = has_word(c->code, "QRESYNC");
    c->can_multiappend = has_word(c->code, "MULTIAPPEND");
}

void client_connect(struct client *c)
{
    const struct world *w = c->world;
    size_t n;

    if (conn_open(&c->conn, w->ports[client_roll(c, (uint64_t)w->ports_n)]) < 0)
        ledger_fail(NULL, "cannot connect");
    c->busy = c->idling = c->qresync = false;
    c->box = -1;
    if (!next_response(c, ANSWER_MS, &n))
        ledger_fail(&c->conn, "no greeting");
    client_command(c, 0, "LOGIN %s %s", w->user, w->password);
    note_capabilities(c);
    if (c->can_qresync && client_roll(c, 2)) {
        client_command(c, 0, "ENABLE QRESYNC");
        c->qresync = true;
    } else {
        client_command(c, 0, "ENABLE CONDSTORE");
    }
}

void client_leave(struct client *c, bool politely)
{
    size_t n;

    client_idle_end(c);
    client_remember(c);
    if (politely) {
        conn_send(&c->conn, "bye LOGOUT\r\n", 12);
        while (conn_read(&c->conn, ANSWER_MS, &n))
            ;
    }
    conn_close(&c->conn);
    c->box = -1;
}
