/* SPDX-License-Identifier: MPL-2.0 */
/* One IMAP client that remembers what it was told, complains when that cannot be, and does one
 * random thing after the other. */
#pragma once

#include "lib/base/mem.h"
#include "tests/stress/conn.h"
#include "tests/stress/ledger.h"

struct world {
    int ports[8];
    int ports_n;
    const char *user, *password;
    int boxes;
    uint32_t box_max; /* messages in a mailbox, about */
    int announce_ms;  /* a session in IDLE is told everything within this time */
    bool print;       /* commands go to standard output */
    bool lonely;      /* one client works at a time: nobody waits in IDLE */
};

struct msg {
    uint32_t uid; /* 0: not known yet */
    uint32_t flags;
    uint64_t modseq; /* 0: flags are not known yet */
};

struct msgs {
    struct msg *items;
    size_t n, cap;
};

struct uids {
    uint32_t *items;
    size_t n, cap;
};

#define NO_FLAGS UINT32_MAX

/* What is kept of a mailbox that is not selected, for a quick resynchronisation. */
struct cache {
    bool valid;
    uint64_t modseq;
    struct msgs msgs;
};

enum {
    TELLS_NO_EXPUNGE = 1, /* FETCH, STORE, SEARCH by sequence number */
    MAY_REFUSE = 2,       /* NO is an answer that can be */
};

struct client {
    const struct world *world;
    int id;
    uint64_t dice;
    struct conn conn;
    unsigned tag;
    uint64_t commands;

    bool can_qresync, can_multiappend, qresync; /* CAPABILITY; qresync: enabled */
    int box;                                    /* selected; -1: none */
    struct msgs msgs;
    uint64_t modseq; /* HIGHESTMODSEQ, as told */
    struct cache caches[BOXES_MAX];

    /* the command under way */
    bool busy, idling;
    unsigned flags;
    bool ok;
    char code[4096];             /* of the tagged response */
    char copyuid[4096];          /* of either */
    uint64_t begun;              /* ledger_clock() */
    struct msgs fetched;         /* of the FETCH responses; flags may be NO_FLAGS */
    struct uids found, vanished; /* SEARCH; VANISHED (EARLIER) */
    struct uids storing;         /* of these the own keyword is in any state */
    struct status {
        uint32_t messages, uidnext, uidvalidity, unseen;
        uint64_t modseq;
    } status;
    char tagged[64];
};

void client_init(struct client *c, const struct world *world, int id, uint64_t seed);
void client_done(struct client *c);
uint64_t client_roll(struct client *c, uint64_t n);

/* --- client.c: talking ----------------------------------------------------------------------- */

void client_connect(struct client *c);
/* Ends the connection: by LOGOUT, or as if the network had failed. */
void client_leave(struct client *c, bool politely);
/* Sends and reads up to the tagged response. Whether it was OK. */
bool client_command(struct client *c, unsigned flags, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void client_begin(struct client *c, unsigned flags, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool client_finish(struct client *c);
/* Reads what comes for so long. */
void client_listen(struct client *c, int ms);
void client_idle(struct client *c);
void client_idle_end(struct client *c);
/* "1:3,7" -> appends to list. */
void client_parse_set(struct client *c, const char *text, struct uids *list);
struct msg *client_find(struct client *c, uint32_t uid);

/* --- client_take.c: untagged responses -------------------------------------------------------- */

void client_take(struct client *c, char *response, size_t n);

/* --- client_select.c: resynchronisation and comparing ------------------------------------------
 */

/* SELECT, with resynchronisation where something is remembered. */
void client_select(struct client *c, int box);
/* Keeps what is known of the selected mailbox, for the next time. */
void client_remember(struct client *c);
void client_learn_new(struct client *c);
/* While nobody changes anything: who is in IDLE is told the truth in time (I14). */
void client_await_told(struct client *c, const struct truth *list, uint32_t n);
/* Likewise: what it knows is the truth. */
void client_verify(struct client *c, const struct truth *list, uint32_t n);
/* Of the selected mailbox, contents too; the caller's. */
struct truth *client_read_all(struct client *c, uint32_t *ret_n);

/* --- client_do.c: what it does ---------------------------------------------------------------- */

/* One random thing. */
void client_act(struct client *c);
