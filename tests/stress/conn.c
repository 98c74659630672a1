/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/stress/conn.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

static void trace(struct conn *c, const char *who, const char *text, size_t n)
{
    char *line = c->trace[c->traced++ % TRACE_LINES];
    int head = snprintf(line, TRACE_BYTES, "%lld %s", (long long)clock_mono_ms() % 10000000, who);
    size_t room = (size_t)(TRACE_BYTES - head - 1);

    n = MIN(n, room);
    memcpy(line + head, text, n);
    line[(size_t)head + n] = '\0';
    for (char *p = line; *p; p++)
        if (*p == '\r' || *p == '\n')
            *p = '|';
}

void conn_note(struct conn *c, const char *text)
{
    trace(c, "-- ", text, strlen(text));
}

void conn_print_trace(const struct conn *c)
{
    unsigned from = c->traced > TRACE_LINES ? c->traced - TRACE_LINES : 0;

    for (unsigned i = from; i < c->traced; i++)
        fprintf(stderr, "    %s\n", c->trace[i % TRACE_LINES]);
}

int conn_open(struct conn *c, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    c->n = c->used = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0)
        return 0;
    conn_close(c);
    return -1;
}

void conn_close(struct conn *c)
{
    mem_close_fd(&c->fd);
    c->n = c->used = 0;
}

void conn_free(struct conn *c)
{
    conn_close(c);
    free(c->bytes);
    free(c->response);
    c->bytes = c->response = NULL;
    c->cap = c->response_cap = 0;
}

void conn_send(struct conn *c, const char *bytes, size_t n)
{
    trace(c, "C: ", bytes, n);
    if (c->print)
        printf("%.*s", (int)n, bytes);
    while (n && c->fd >= 0) {
        ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0) {
            conn_close(c);
            return;
        }
        bytes += sent;
        n -= (size_t)sent;
    }
}

/* Length of the first whole response with its last CRLF; 0: not there yet. */
static size_t whole(const struct conn *c)
{
    size_t at = 0;

    for (;;) {
        const char *end = memmem(c->bytes + at, c->n - at, "\r\n", 2);
        const char *open;
        size_t literal;

        if (!end)
            return 0;
        open = end > c->bytes && end[-1] == '}'
                   ? memrchr(c->bytes + at, '{', (size_t)(end - c->bytes) - at)
                   : NULL;
        at = (size_t)(end - c->bytes) + 2;
        if (!open)
            return at;
        literal = strtoul(open + 1, NULL, 10);
        if (c->n - at < literal)
            return 0;
        at += literal;
    }
}

static bool receive(struct conn *c, int timeout_ms)
{
    struct pollfd p = {c->fd, POLLIN, 0};
    ssize_t got;

    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 65536;
        c->bytes = mem_realloc(c->bytes, c->cap, 1);
    }
    if (poll(&p, 1, timeout_ms) <= 0)
        return false;
    got = recv(c->fd, c->bytes + c->n, c->cap - c->n, 0);
    if (got <= 0)
        conn_close(c);
    else
        c->n += (size_t)got;
    return got > 0;
}

static char *hand_out(struct conn *c, size_t n, size_t *ret_n)
{
    if (c->response_cap < n) {
        c->response_cap = n * 2;
        c->response = mem_realloc(c->response, c->response_cap, 1);
    }
    memcpy(c->response, c->bytes, n - 2);
    c->response[n - 2] = '\0';
    c->used = n;
    *ret_n = n - 2;
    trace(c, "S: ", c->response, n - 2);
    return c->response;
}

char *conn_read(struct conn *c, int timeout_ms, size_t *ret_n)
{
    int64_t end = clock_mono_ms() + timeout_ms;
    size_t n;

    if (c->used) {
        memmove(c->bytes, c->bytes + c->used, c->n - c->used);
        c->n -= c->used;
        c->used = 0;
    }
    while (c->fd >= 0 && !(c->n && (n = whole(c)))) {
        int64_t left = end - clock_mono_ms();

        if (!receive(c, left > 0 ? (int)left : 0))
            return NULL;
    }
    return c->fd < 0 ? NULL : hand_out(c, n, ret_n);
}
