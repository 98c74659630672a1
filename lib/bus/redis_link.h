/* SPDX-License-Identifier: MPL-2.0 */
/* One connection to a Redis server: connecting (by way of Sentinels, if the URI names them), TLS,
 * AUTH, heartbeat, back-off; hiredis codes and decodes.
 *
 * Sentinels are asked in turn, anew at each attempt, and what they name must say of itself that it
 * is the master.
 *
 * (Why not hiredis whole: 0.14 has no TLS and no timeouts, resolves names in a blocking way inside
 * its asynchronous connect, and drops the replies to PING on a subscribed connection.)
 *
 * For one thread, which calls in a loop: link_tend, then poll(2) with link_events until
 * link_due_ms, then link_io, then link_next until it gives nothing more.
 */
#pragma once

#include <hiredis/hiredis.h>
#include <openssl/ssl.h>

#include "lib/base/buf.h"
#include "lib/bus/redis_uri.h"

struct link_target {
    struct redis_uri uri;
    SSL_CTX *tls; /* NULL: plain */
};

/* What follows redis:// or rediss://. 0 or -ERR_INVALID. */
int link_target_open(struct slice rest, bool tls, struct link_target *ret,
                     struct error *err) MUST_USE;
void link_target_done(struct link_target *t);

enum link_state {
    LINK_DOWN,       /* until retry_ms */
    LINK_CONNECTING, /* until deadline_ms */
    LINK_HANDSHAKE,  /* TLS; likewise */
    LINK_GREETING,   /* likewise: AUTH; at a Sentinel, where the server is; there, its role */
    LINK_UP,
};

struct link {
    const struct link_target *target;
    const char *name; /* for logs */
    enum link_state state;
    int fd;
    SSL *ssl;
    bool tls_wants_write;
    redisReader *reader;
    struct buf out;
    int64_t retry_ms, deadline_ms; /* clock_mono_ms() */
    int64_t heard_ms, pinged_ms;
    int64_t logged_ms;       /* when its loss was last logged; 0: it is not lost */
    char host[256], port[8]; /* of the connection */
    bool at_sentinel;
    unsigned questions; /* LINK_GREETING: replies that are to come */
    int backoff_ms;
    unsigned attempts;
    uint64_t drops; /* connections, and attempts, that failed */
    uint64_t ups;   /* how often it came up; a user who sees it change starts anew */
};

void link_init(struct link *l, const struct link_target *target, const char *name);
void link_done(struct link *l);
/* Connects, asks for a sign of life, gives up on the silent. */
void link_tend(struct link *l);
short link_events(const struct link *l);
/* When link_tend has something to do next. */
int64_t link_due_ms(const struct link *l);
void link_io(struct link *l, short revents);
/* The next reply, to be freed with freeReplyObject; NULL: none. */
redisReply *link_next(struct link *l) MUST_USE;
/* Only when up; binary safe. */
void link_send(struct link *l, int n, const struct slice *args);
/* It works: the next failure is answered soon. */
void link_works(struct link *l);
/* Gives it up; it is tried again after the back-off. */
void link_drop(struct link *l, const char *why);
