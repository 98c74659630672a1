/* SPDX-License-Identifier: MPL-2.0 */
/* A small protocol of lines for the tests of the pump, and a blocking client for it.
 *
 *   echo X     X                        big N       N bytes, in slices
 *   lit N      takes N bytes: got N     hint        waits for line_wake_all, then: hinted
 *   starttls   go, then: secure         peer        what the session knows of the client
 *   busy free  inside a command or not  deadline N  after N ms: late
 *   sleep N    blocks the worker        quit        bye, and the connection closes
 * A shutdown is answered with "shutdown", an end of input with "eof". */
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "lib/base/session.h"
#include "lib/net/net.h"

#define LINE_INPUT_MAX ((size_t)4096)

TAILQ_HEAD(line_list, line_session);

struct line_service {
    struct session_service service;
    pthread_mutex_t lock;
    struct line_list sessions; /* all that live */
    _Atomic int live;
    _Atomic int wrong; /* rules broken: a step while another ran, ready off the loop */
    _Atomic int eofs;
};

void line_service_init(struct line_service *service);
/* Calls wake of every session that lives. */
void line_wake_all(struct line_service *service);

/* A client: blocking, gives up after 10 s. */
struct client_end {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};
/* "127.0.0.1:port", "[::1]:port" or "unix:path". false: no connection. */
bool client_open(struct client_end *c, const char *address);
/* TLS as a client that checks nothing; sni may be NULL; max_version 0: any. */
bool client_start_tls(struct client_end *c, const char *sni, int max_version);
bool client_send(struct client_end *c, const void *p, size_t n);
bool client_say(struct client_end *c, const char *text);
/* Up to n bytes; 0 at the end, -1 on an error or after 10 s. */
ssize_t client_read(struct client_end *c, void *to, size_t n);
/* A line without its CR LF; "" at the end of the connection. Static per thread. */
const char *client_line(struct client_end *c);
void client_close(struct client_end *c);
