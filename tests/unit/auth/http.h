/* SPDX-License-Identifier: MPL-2.0 */
/* A small HTTP server for one test, on a free port of 127.0.0.1: answers every request with what
 * `answer` gives, one after the other. */
#pragma once

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/buf.h"

struct http {
    int fd, port;
    atomic_int requests;
    pthread_t thread;
    /* Appends a whole response to out; what was asked is in `request`. */
    void (*answer)(const char *request, struct buf *out);
};

/* Head and body, as far as they are there; false: the server ends. */
static inline bool http_read(int fd, char *text, size_t size)
{
    size_t n = 0;
    ssize_t got = 1;
    char *body = NULL, *length;

    while (got > 0 && n + 1 < size) {
        got = read(fd, text + n, size - 1 - n);
        n += got > 0 ? (size_t)got : 0;
        text[n] = '\0';
        body = strstr(text, "\r\n\r\n");
        length = strcasestr(text, "\r\nContent-Length:");
        if (body && (!length || strlen(body + 4) >= (size_t)atoi(length + 17)))
            return true;
    }
    return false;
}

static inline void *http_run(void *arg)
{
    static char text[65536];
    struct http *h = arg;
    int fd;

    while ((fd = accept(h->fd, NULL, NULL)) >= 0) {
        struct buf out = buf_make(1 << 20);

        if (http_read(fd, text, sizeof text)) {
            atomic_fetch_add(&h->requests, 1);
            h->answer(text, &out);
            if (write(fd, out.p, out.n) < 0)
                perror("write");
        }
        buf_done(&out);
        close(fd);
    }
    return NULL;
}

static inline void http_start(struct http *h)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;

    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(h->fd >= 0 && bind(h->fd, (struct sockaddr *)&a, sizeof a) == 0);
    cr_assert(listen(h->fd, 64) == 0);
    cr_assert_eq(getsockname(h->fd, (struct sockaddr *)&a, &size), 0);
    h->port = ntohs(a.sin_port);
    cr_assert_eq(pthread_create(&h->thread, NULL, http_run, h), 0);
}

static inline void http_stop(struct http *h)
{
    shutdown(h->fd, SHUT_RDWR);
    pthread_join(h->thread, NULL);
    close(h->fd);
}

static inline void http_ok(struct buf *out, struct slice body)
{
    buf_printf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", body.n);
    buf_add_slice(out, body);
}
