/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/unit/net/line.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"

struct line_session {
    struct session session;
    struct line_service *service;
    TAILQ_ENTRY(line_session) link;
    uint64_t big;     /* bytes still to be sent */
    uint64_t literal; /* bytes still to come */
    uint64_t literal_n;
    _Atomic bool in_step;
    bool listed; /* in service->sessions: from the first step on, when wake is set */
};

static struct line_session *line_of(struct session *s)
{
    return CONTAINER_OF(s, struct line_session, session);
}

static bool line_ready(struct session *s)
{
    struct line_session *l = line_of(s);

    if (atomic_load(&l->in_step))
        atomic_fetch_add(&l->service->wrong, 1);
    return l->literal > 0 ? s->in.n > 0 : slice_find(buf_slice(&s->in), '\n') >= 0;
}

static void send_big(struct line_session *l)
{
    static const char pattern[] =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    struct session *s = &l->session;
    uint64_t n = MIN(l->big, (uint64_t)SESSION_SLICE);

    for (uint64_t at = 0; at < n; at += 64)
        buf_add(&s->out, pattern, MIN((uint64_t)64, n - at));
    l->big -= n;
    s->want.output = l->big > 0;
    s->want.input = l->big == 0;
}

static void take_literal(struct line_session *l)
{
    struct session *s = &l->session;
    uint64_t n = MIN(l->literal, (uint64_t)s->in.n);

    buf_consume(&s->in, n);
    l->literal -= n;
    if (l->literal == 0)
        buf_printf(&s->out, "got %llu\r\n", (unsigned long long)l->literal_n);
}

static void say_peer(struct session *s)
{
    const struct session_peer *p = &s->peer;

    buf_printf(&s->out,
               "remote=%s port=%u tls=%d trusted=%d version=%s sni=%s exporter=", p->remote,
               p->remote_port, p->tls, p->trusted, p->tls_version, p->tls_sni);
    for (size_t i = 0; p->has_cb_exporter && i < sizeof p->cb_exporter; i++)
        buf_printf(&s->out, "%02x", p->cb_exporter[i]);
    buf_printf(&s->out, " endpoint=%u unique=", p->cb_end_point_n);
    hex_encode(&s->out, slice_of(p->cb_unique, p->cb_unique_n));
    buf_add_str(&s->out, ".\r\n");
}

static void run_line(struct line_session *l, struct slice line)
{
    struct session *s = &l->session;
    ssize_t space = slice_find(line, ' ');
    struct slice word = slice_sub(line, 0, space < 0 ? line.n : (size_t)space);
    struct slice rest = space < 0 ? S("") : slice_skip(line, (size_t)space + 1);
    uint64_t number = 0;

    (void)slice_to_u64(rest, UINT64_MAX, &number);
    if (slice_eq(word, S("echo"))) {
        buf_add_slice(&s->out, rest);
        buf_add_str(&s->out, "\r\n");
    } else if (slice_eq(word, S("big"))) {
        l->big = number;
        send_big(l);
    } else if (slice_eq(word, S("lit"))) {
        l->literal = l->literal_n = number;
    } else if (slice_eq(word, S("hint"))) {
        buf_add_str(&s->out, "waiting\r\n");
        s->want.hint = true;
    } else if (slice_eq(word, S("starttls"))) {
        buf_add_str(&s->out, "go\r\n");
        s->want.starttls = true;
    } else if (slice_eq(word, S("peer"))) {
        say_peer(s);
    } else if (slice_eq(word, S("busy")) || slice_eq(word, S("free"))) {
        s->want.busy = word.p[0] == 'b';
        buf_add_str(&s->out, "ok\r\n");
    } else if (slice_eq(word, S("deadline"))) {
        s->want.deadline_ms = clock_mono_ms() + (int64_t)number;
    } else if (slice_eq(word, S("sleep"))) {
        usleep((useconds_t)number * 1000);
    } else if (slice_eq(word, S("quit"))) {
        buf_add_str(&s->out, "bye\r\n");
        s->want.close = true;
    } else {
        buf_add_str(&s->out, "what?\r\n");
    }
}

/* One command a step, as protocols do it. */
static void work(struct line_session *l)
{
    struct session *s = &l->session;
    ssize_t end = slice_find(buf_slice(&s->in), '\n');

    if (l->literal > 0) {
        take_literal(l);
    } else if (end >= 0) {
        struct slice text = slice_trim(slice_sub(buf_slice(&s->in), 0, (size_t)end));
        CLEANUP_FREE char *line = slice_dup(text);

        buf_consume(&s->in, (size_t)end + 1);
        run_line(l, slice_str(line));
    }
}

static void note_events(struct line_session *l, unsigned events)
{
    struct session *s = &l->session;

    if (events & SESSION_HINT) {
        buf_add_str(&s->out, "hinted\r\n");
        s->want.hint = false;
    }
    if (events & SESSION_DEADLINE)
        buf_add_str(&s->out, "late\r\n");
    if (events & SESSION_TLS)
        buf_add_str(&s->out, "secure\r\n");
    if (events & SESSION_EOF) {
        atomic_fetch_add(&l->service->eofs, 1);
        buf_add_str(&s->out, "eof\r\n");
    }
    if (events & SESSION_SHUTDOWN) {
        buf_add_str(&s->out, "shutdown\r\n");
        s->want.close = true;
    }
}

static void list_session(struct line_session *l)
{
    pthread_mutex_lock(&l->service->lock);
    TAILQ_INSERT_TAIL(&l->service->sessions, l, link);
    pthread_mutex_unlock(&l->service->lock);
    l->listed = true;
}

static void line_step(struct session *s, unsigned events)
{
    struct line_session *l = line_of(s);

    if (atomic_exchange(&l->in_step, true))
        atomic_fetch_add(&l->service->wrong, 1);
    if (!s->want.input && !s->want.output && events == 0) {
        buf_add_str(&s->out, "hello\r\n");
        s->want.input = true;
        list_session(l);
    }
    note_events(l, events);
    if (l->big > 0)
        send_big(l);
    else
        work(l);
    atomic_store(&l->in_step, false);
}

static void line_free(struct session *s)
{
    struct line_session *l = line_of(s);

    pthread_mutex_lock(&l->service->lock);
    if (l->listed)
        TAILQ_REMOVE(&l->service->sessions, l, link);
    pthread_mutex_unlock(&l->service->lock);
    atomic_fetch_sub(&l->service->live, 1);
    free(l);
}

static struct session *line_open(struct session_service *service, const struct session_peer *peer)
{
    static const struct session_ops ops = {"line", line_ready, line_step, line_free};
    struct line_service *ls = service->context;
    struct line_session *l = NEW(struct line_session);

    l->service = ls;
    l->session.ops = &ops;
    l->session.in = buf_make(LINE_INPUT_MAX);
    l->session.out = buf_make(SESSION_SLICE * 2);
    l->session.want.input_max = LINE_INPUT_MAX;
    atomic_fetch_add(&ls->live, 1);
    return &l->session;
}

void line_service_init(struct line_service *service)
{
    *service = (struct line_service){
        .service = {.name = "line", .refusal = "go away\r\n", .open = line_open},
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    service->service.context = service;
    TAILQ_INIT(&service->sessions);
}

void line_wake_all(struct line_service *service)
{
    struct line_session *l;

    pthread_mutex_lock(&service->lock);
    TAILQ_FOREACH (l, &service->sessions, link)
        l->session.wake(&l->session);
    pthread_mutex_unlock(&service->lock);
}

/* ---- The client ---- */

bool client_open(struct client_end *c, const char *address)
{
    struct netaddr a;
    struct timeval patience = {.tv_sec = 10};

    *c = (struct client_end){.fd = -1};
    if (netaddr_parse(address, &a, NULL) < 0)
        return false;
    c->fd = socket(a.sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(c->fd, &a.sa.any, a.n) == 0)
        return true;
    client_close(c);
    return false;
}

bool client_start_tls(struct client_end *c, const char *sni, int max_version)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(c->ctx, max_version);
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, c->fd);
    if (sni)
        SSL_set_tlsext_host_name(c->ssl, sni);
    return SSL_connect(c->ssl) == 1;
}

bool client_send(struct client_end *c, const void *p, size_t n)
{
    const char *from = p;

    while (n > 0) {
        ssize_t sent =
            c->ssl ? SSL_write(c->ssl, from, (int)n) : send(c->fd, from, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        from += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool client_say(struct client_end *c, const char *text)
{
    return client_send(c, text, strlen(text));
}

ssize_t client_read(struct client_end *c, void *to, size_t n)
{
    return c->ssl ? SSL_read(c->ssl, to, (int)n) : recv(c->fd, to, n, 0);
}

const char *client_line(struct client_end *c)
{
    static _Thread_local char line[1024];
    size_t n = 0;

    while (n < sizeof line - 1 && client_read(c, line + n, 1) == 1)
        if (line[n++] == '\n')
            break;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    line[n] = '\0';
    return line;
}

void client_close(struct client_end *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    mem_close_fd(&c->fd);
    *c = (struct client_end){.fd = -1};
}
