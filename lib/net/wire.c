/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/net/wire.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct wire *wire = arg;

    wire->readable |= (what & (EV_READ | EV_CLOSED)) != 0;
    wire->writable |= (what & EV_WRITE) != 0;
    wire->half_closed |= (what & EV_CLOSED) != 0;
    wire->changed(wire);
}

int wire_open(struct wire *wire, struct loop *loop, int fd, void (*changed)(struct wire *))
{
    *wire = (struct wire){.fd = fd, .changed = changed, .readable = true, .writable = true};
    event_assign(&wire->event, loop_base(loop), fd,
                 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, wire);
    if (event_add(&wire->event, NULL) < 0) {
        close(fd);
        wire->fd = -1;
        return -ERR_UNAVAILABLE;
    }
    return 0;
}

/* Leaves the flags alone. */
static ssize_t receive_plain(const struct wire *wire, void *to, size_t n)
{
    ssize_t got;

    do
        got = recv(wire->fd, to, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        return got;
    if (got == 0)
        return WIRE_EOF;
    return errno == EAGAIN ? WIRE_BLOCKED : WIRE_BROKEN;
}

/* A short read has emptied the socket, unless the end of input is behind it: for that no further
 * edge would come. */
static ssize_t read_plain(struct wire *wire, void *to, size_t n)
{
    ssize_t got = receive_plain(wire, to, n);

    if (got > 0)
        wire->readable = (size_t)got == n || wire->half_closed;
    else if (got == WIRE_BLOCKED)
        wire->readable = false;
    return got;
}

/* Leaves the flags alone. */
static ssize_t send_plain(const struct wire *wire, const void *p, size_t n)
{
    ssize_t sent;

    do
        sent = send(wire->fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent > 0)
        return sent;
    return sent < 0 && errno != EAGAIN ? WIRE_BROKEN : WIRE_BLOCKED;
}

static ssize_t write_plain(struct wire *wire, const void *p, size_t n)
{
    ssize_t sent = send_plain(wire, p, n);

    if (sent == WIRE_BLOCKED)
        wire->writable = false;
    return sent;
}

/* A read that must write first (or the other way round) is tried again at the next edge of any
 * kind: its own flag stays set. */
static int tls_outcome(struct wire *wire, int rc)
{
    switch (SSL_get_error(wire->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        wire->readable = false;
        return WIRE_BLOCKED;
    case SSL_ERROR_WANT_WRITE:
        wire->writable = false;
        return WIRE_BLOCKED;
    case SSL_ERROR_ZERO_RETURN:
        return WIRE_EOF;
    default:
        return WIRE_BROKEN;
    }
}

ssize_t wire_read(struct wire *wire, void *to, size_t n)
{
    if (!wire->ssl)
        return read_plain(wire, to, n);
    ERR_clear_error();
    int got = SSL_read(wire->ssl, to, n > INT32_MAX ? INT32_MAX : (int)n);
    return got > 0 ? got : tls_outcome(wire, got);
}

ssize_t wire_write(struct wire *wire, const void *p, size_t n)
{
    if (!wire->ssl)
        return write_plain(wire, p, n);
    ERR_clear_error();
    int sent = SSL_write(wire->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
    if (sent > 0)
        return sent;
    int result = tls_outcome(wire, sent);
    return result == WIRE_EOF ? WIRE_BROKEN : result;
}

/* What an operation of TLS that did not work out means to who leaves the flags alone. */
static ssize_t away_outcome(const struct wire *wire, int rc)
{
    switch (SSL_get_error(wire->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return WIRE_BLOCKED;
    case SSL_ERROR_ZERO_RETURN:
        return WIRE_EOF;
    default:
        return WIRE_BROKEN;
    }
}

ssize_t wire_push(struct wire *wire, const void *p, size_t n)
{
    if (!wire->ssl)
        return send_plain(wire, p, n);
    ERR_clear_error();
    int sent = SSL_write(wire->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
    return sent > 0 ? sent : away_outcome(wire, sent) == WIRE_BLOCKED ? WIRE_BLOCKED : WIRE_BROKEN;
}

ssize_t wire_pull(struct wire *wire, void *to, size_t n)
{
    if (!wire->ssl)
        return receive_plain(wire, to, n);
    ERR_clear_error();
    int got = SSL_read(wire->ssl, to, n > INT32_MAX ? INT32_MAX : (int)n);
    return got > 0 ? got : away_outcome(wire, got);
}

bool wire_await(const struct wire *wire, int ms)
{
    struct pollfd p = {.fd = wire->fd, .events = POLLIN};

    return (wire->ssl && SSL_pending(wire->ssl) > 0) || poll(&p, 1, ms) > 0;
}

int wire_start_tls(struct wire *wire, struct tls *tls)
{
    wire->tls_set = tls_current(tls);
    wire->ssl = tls_set_accept(wire->tls_set, wire->fd);
    return wire->ssl ? 0 : -ERR_UNAVAILABLE;
}

int wire_start_client(struct wire *wire, SSL *ssl)
{
    wire->ssl = ssl;
    return SSL_set_fd(ssl, wire->fd) == 1 ? 0 : -ERR_UNAVAILABLE;
}

int wire_handshake(struct wire *wire)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(wire->ssl);
    return rc == 1 ? 0 : tls_outcome(wire, rc);
}

static void drop_tls(struct wire *wire)
{
    SSL_free(wire->ssl);
    wire->ssl = NULL;
    tls_set_unref(wire->tls_set);
    wire->tls_set = NULL;
}

void wire_finish(struct wire *wire)
{
    if (wire->ssl && SSL_is_init_finished(wire->ssl)) {
        ERR_clear_error();
        SSL_shutdown(wire->ssl); /* if the socket is full, the client has to live without it */
        ERR_clear_error();
    }
    drop_tls(wire);
    shutdown(wire->fd, SHUT_WR);
}

void wire_close(struct wire *wire)
{
    if (wire->fd < 0)
        return;
    drop_tls(wire);
    event_del(&wire->event);
    close(wire->fd);
    wire->fd = -1;
}
