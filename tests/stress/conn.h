/* SPDX-License-Identifier: MPL-2.0 */
/* A connection to an IMAP server, blocking, for one thread; remembers what was said last. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define TRACE_LINES 60
#define TRACE_BYTES 400

struct conn {
    int fd; /* -1: not open */
    char *bytes;
    size_t n, cap, used; /* used: of the response handed out last */
    char *response;
    size_t response_cap;
    char trace[TRACE_LINES][TRACE_BYTES];
    unsigned traced;
    bool print; /* what is sent goes to standard output too */
};

/* 0 or -1. */
int conn_open(struct conn *c, int port);
void conn_close(struct conn *c);
void conn_free(struct conn *c);
void conn_send(struct conn *c, const char *bytes, size_t n);
/* The next response without its CRLF, literals in it as they came, ended by NUL; valid until the
 * next call. NULL: nothing whole within the time, or the end (then fd is -1). */
char *conn_read(struct conn *c, int timeout_ms, size_t *ret_n);
/* A remark among what was said. */
void conn_note(struct conn *c, const char *text);
void conn_print_trace(const struct conn *c);
