/* SPDX-License-Identifier: MPL-2.0 */
/* What all clients together know of the shared mailboxes, and what must hold between what they were
 * told. All functions may be called from any thread; a broken rule is the end of the program
 * (ledger_fail).
 *
 * A message is made with a token, a number in its header that is its own. What may be done to it
 * follows from it, so that at the end each message can be accounted for.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct conn;

enum message_class {
    MESSAGE_DELETABLE, /* may be expunged */
    MESSAGE_MOVABLE,   /* only ever moved: at any time it is in one mailbox */
    MESSAGE_COPYABLE,  /* only ever copied */
    MESSAGE_KEPT,      /* only its flags change */
    MESSAGE_CLASSES,
    MESSAGE_UNKNOWN,
};

#define BOXES_MAX   8
#define CLIENTS_MAX 24

/* Flags as bits: system flags, "$s", and "$k<i>", which client i alone sets and clears. */
#define FLAG_BIT_SEEN    1u
#define FLAG_BIT_DELETED 8u
#define FLAG_BIT_SHARED  32u
#define FLAG_BIT_OWN(i)  (64u << (i))

void ledger_open(int boxes, uint64_t seed);
void ledger_close(void);

/* Says which rule is broken, shows what was said on the connection (may be NULL), and ends the
 * program with status 1. */
void ledger_fail(const struct conn *conn, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* Counts events; what was noted before a point has a smaller number. */
uint64_t ledger_clock(void);
uint64_t ledger_new_token(enum message_class kind);
enum message_class ledger_class(int box, uint32_t uid);

/* I3: the same for ever. */
void ledger_uidvalidity(const struct conn *c, int box, uint32_t uidvalidity);
/* The highest uid and MODSEQ that somebody has been told of a finished change. */
uint32_t ledger_top_uid(int box);
uint64_t ledger_top_modseq(int box);
void ledger_note_modseq(int box, uint64_t modseq);

/* A command that was begun when the top was `top` has given the message this uid (I1, I15). */
void ledger_created(const struct conn *c, int box, uint32_t uid, uint64_t token, uint32_t top);
/* The same by COPY or MOVE of a message that was there after `begun` (I9). */
void ledger_copied(const struct conn *c, int from, uint32_t uid, int to, uint32_t new_uid,
                   uint32_t top, uint64_t begun, bool moved);
/* Somebody is about to do what may end in its going. */
void ledger_may_go(int box, uint32_t uid);
/* Somebody has been told that it is gone. */
void ledger_gone(const struct conn *c, int box, uint32_t uid);
/* A view of the present, begun at `begun`, shows it. */
void ledger_shown(const struct conn *c, int box, uint32_t uid, uint64_t begun);

/* FLAGS with their MODSEQ: the same for all who see this version of the message (I5, I6). */
void ledger_flags(const struct conn *c, int box, uint32_t uid, uint64_t modseq, uint32_t flags);
/* Size, date, token: the same for all, always (I4). token 0: not asked for. */
void ledger_content(const struct conn *c, int box, uint32_t uid, uint32_t size, const char *date,
                    uint64_t token);
/* A STORE with UNCHANGEDSINCE `since` has set the bit to `on`, and `after` was the MODSEQ then or
 * later: no version in between may have it otherwise (I12). */
void ledger_conditional(const struct conn *c, int box, uint32_t uid, uint64_t since, uint64_t after,
                        uint32_t bit, bool on);

/* A client's own keyword. -1: not known. */
int ledger_own(int box, uint32_t uid, int client);
void ledger_set_own(int box, uint32_t uid, int client, int on);

/* All of a mailbox as a fresh session sees it while nothing happens. */
struct truth {
    uint32_t uid, flags;
    uint64_t modseq;
};
/* Every message that was made and could not have gone is there, nothing else is, and what is only
 * moved is in one place (I1, I15, I16, I21, I22). `n` and `list` of each mailbox. */
void ledger_audit(const struct conn *c, struct truth *const lists[], const uint32_t n[]);
uint64_t ledger_messages(void);
