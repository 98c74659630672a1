/* SPDX-License-Identifier: MPL-2.0 */
/* wire: the bytes of one connected, nonblocking socket, with TLS or without. On its loop's thread.
 *
 * The events are edge-triggered and registered once: what an edge said stays known in `readable`
 * and `writable` until the kernel says "would block". So nothing is registered anew when a session
 * ceases or begins to want input, and edges that come while a worker has the session are not lost.
 */
#pragma once

#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "lib/base/bytes.h"
#include "lib/net/loop.h"
#include "lib/net/tls.h"

struct wire {
    struct event event;
    void (*changed)(struct wire *wire); /* something became readable or writable */
    int fd;                             /* -1: closed */
    bool readable, writable;
    bool half_closed; /* the kernel has seen the client's end of input (maybe behind more bytes) */
    SSL *ssl;         /* NULL: plain */
    struct tls_set *tls_set;
};

enum wire_result { WIRE_BLOCKED = -1, WIRE_EOF = -2, WIRE_BROKEN = -3 };

/* Takes fd over. 0, or -ERR_UNAVAILABLE (the fd is closed then). */
int wire_open(struct wire *wire, struct loop *loop, int fd,
              void (*changed)(struct wire *)) MUST_USE;
/* Bytes read (>0) or an enum wire_result. */
ssize_t wire_read(struct wire *wire, void *to, size_t n);
/* Bytes written (>0), WIRE_BLOCKED or WIRE_BROKEN. n > 0. */
ssize_t wire_write(struct wire *wire, const void *p, size_t n);

/* The same on another thread than the loop's, which has handed the connection over: what it notes
 * of the socket is left alone. Whoever gets WIRE_BLOCKED leaves the rest to the loop. */
ssize_t wire_push(struct wire *wire, const void *p, size_t n);
/* As wire_read; as on the loop, an end of input shows again. */
ssize_t wire_pull(struct wire *wire, void *to, size_t n);
/* Waits for something to read (or the end of input), ms at most. */
bool wire_await(const struct wire *wire, int ms);

/* Begins TLS as the server. 0 or -ERR_UNAVAILABLE. */
int wire_start_tls(struct wire *wire, struct tls *tls) MUST_USE;
/* Begins TLS as the client; ssl is the wire's from now on. 0 or -ERR_UNAVAILABLE. */
int wire_start_client(struct wire *wire, SSL *ssl) MUST_USE;
/* Goes on with the handshake. 0: done; WIRE_BLOCKED, WIRE_EOF; WIRE_BROKEN: see tls_last_error. */
int wire_handshake(struct wire *wire);

/* The end of our output: close_notify, FIN; TLS state is freed. Input may still be thrown away. */
void wire_finish(struct wire *wire);
/* Closes at once; may be called again. */
void wire_close(struct wire *wire);
