/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/bus/redis_link.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define CONNECT_MS     2000
#define PING_MS        1000 /* of silence, then a sign of life is asked for */
#define SILENT_MS      3000 /* a frozen server sends no FIN */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define IN_MAX         ((size_t)1 << 20) /* of one reply; ours have 16 KB at most */
#define OUT_MAX        ((size_t)1 << 20)
#define QUIET_MS       60000 /* between log lines about a server that stays away */

/* --- where to ------------------------------------------------------------------------------- */

static bool load_certificates(SSL_CTX *tls, const struct redis_uri *u)
{
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (u->certfile && (SSL_CTX_use_certificate_chain_file(tls, u->certfile) != 1 ||
                        SSL_CTX_use_PrivateKey_file(tls, u->keyfile, SSL_FILETYPE_PEM) != 1))
        return false;
    return u->cafile ? SSL_CTX_load_verify_locations(tls, u->cafile, NULL) == 1
                     : SSL_CTX_set_default_verify_paths(tls) == 1;
}

int link_target_open(struct slice rest, bool tls, struct link_target *ret, struct error *err)
{
    struct link_target t = {0};
    int r = redis_uri_parse(rest, tls, &t.uri, err);

    if (r < 0)
        return r;
    if (tls && !(t.tls = SSL_CTX_new(TLS_client_method())))
        r = error_set(err, ERR_INTERNAL, "OpenSSL gives no context");
    else if (tls && !load_certificates(t.tls, &t.uri))
        r = error_set(err, ERR_INVALID, "the bus's cafile, certfile or keyfile cannot be used");
    if (r < 0)
        link_target_done(&t);
    else
        *ret = t;
    return r;
}

void link_target_done(struct link_target *t)
{
    redis_uri_done(&t->uri);
    SSL_CTX_free(t->tls);
    *t = (struct link_target){0};
}

/* --- life ------------------------------------------------------------------------------------ */

void link_init(struct link *l, const struct link_target *target, const char *name)
{
    *l = (struct link){.target = target,
                       .name = name,
                       .fd = -1,
                       .out = buf_make(OUT_MAX),
                       .backoff_ms = BACKOFF_MIN_MS};
}

static void hang_up(struct link *l)
{
    SSL_free(l->ssl);
    mem_close_fd(&l->fd);
    if (l->reader)
        redisReaderFree(l->reader);
    l->ssl = NULL;
    l->fd = -1;
    l->reader = NULL;
    l->tls_wants_write = false;
    buf_reset(&l->out, 0);
    l->state = LINK_DOWN;
}

void link_done(struct link *l)
{
    hang_up(l);
    buf_done(&l->out);
}

void link_works(struct link *l)
{
    l->backoff_ms = BACKOFF_MIN_MS;
}

/* The first time, and once a minute while it lasts. */
static void log_lost(struct link *l, const char *why)
{
    struct log_line line;
    int64_t now = clock_mono_ms();

    if (l->state != LINK_UP && l->logged_ms && now - l->logged_ms < QUIET_MS)
        return;
    l->logged_ms = now;
    log_begin(&line, LOG_WARN_, "bus-lost");
    log_str(&line, "link", slice_str(l->name));
    log_str(&line, l->at_sentinel ? "sentinel" : "server", slice_str(l->host));
    log_str(&line, "port", slice_str(l->port));
    log_str(&line, "reason", slice_str(why));
    log_num(&line, "retry_ms", l->backoff_ms);
    log_end(&line);
}

void link_drop(struct link *l, const char *why)
{
    if (l->state == LINK_DOWN)
        return;
    log_lost(l, why);
    l->drops++;
    hang_up(l);
    /* Not all nodes at the same moment. */
    l->retry_ms =
        clock_mono_ms() + l->backoff_ms / 2 + (int64_t)(random_u64() % (uint64_t)l->backoff_ms);
    l->backoff_ms = MIN(l->backoff_ms * 2, BACKOFF_MAX_MS);
}

/* --- connecting ------------------------------------------------------------------------------ */

static int open_socket(const struct addrinfo *a)
{
    int one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The next address at each attempt. Looking up the name may block; this thread has nothing else to
 * do that matters. */
static void connect_to(struct link *l, const char *host, const char *port, bool at_sentinel)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    int r = getaddrinfo(host, port, &hints, &all);
    const struct addrinfo *a = all;
    unsigned n = 0;

    snprintf(l->host, sizeof l->host, "%s", host);
    snprintf(l->port, sizeof l->port, "%s", port);
    l->at_sentinel = at_sentinel;
    for (const struct addrinfo *i = all; i; i = i->ai_next)
        n++;
    for (unsigned skip = n ? l->attempts % n : 0; skip; skip--)
        a = a->ai_next;
    l->state = LINK_CONNECTING;
    l->deadline_ms = clock_mono_ms() + CONNECT_MS;
    if (a)
        l->fd = open_socket(a);
    if (all)
        freeaddrinfo(all);
    if (l->fd < 0)
        link_drop(l, r ? gai_strerror(r) : "cannot connect");
}

static void begin_connect(struct link *l)
{
    const struct redis_uri *u = &l->target->uri;
    const struct redis_place *place = &u->places[l->attempts++ % u->places_n];

    connect_to(l, place->host, place->port, u->master != NULL);
}

/* --- what is said before it is up ------------------------------------------------------------ */

static void ask(struct link *l, const char *a, const char *b, const char *c)
{
    struct slice args[] = {slice_str(a), b ? slice_str(b) : slice_of(NULL, 0),
                           c ? slice_str(c) : slice_of(NULL, 0)};

    l->questions++;
    link_send(l, 1 + !!b + !!c, args);
}

static void become_up(struct link *l)
{
    l->state = LINK_UP;
    l->ups++;
    l->logged_ms = 0;
    l->heard_ms = l->pinged_ms = clock_mono_ms();
}

/* RFC-less: AUTH [user] password; a Sentinel is asked for the server, the server for its role (one
 * that was replaced may take itself for the master until it hears of it). */
static void come_up(struct link *l)
{
    const struct redis_uri *u = &l->target->uri;
    const struct redis_login *login = l->at_sentinel ? &u->sentinel_login : &u->login;

    l->state = LINK_GREETING;
    l->questions = 0;
    l->reader = redisReaderCreate();
    if (!l->reader)
        abort();
    if (login->password && login->user)
        ask(l, "AUTH", login->user, login->password);
    else if (login->password)
        ask(l, "AUTH", login->password, NULL);
    if (l->at_sentinel)
        ask(l, "SENTINEL", "get-master-addr-by-name", u->master);
    else if (u->master)
        ask(l, "ROLE", NULL, NULL);
    else if (l->questions == 0)
        become_up(l);
}

static const char *text_at(const redisReply *reply, size_t i)
{
    if (reply->type != REDIS_REPLY_ARRAY || i >= reply->elements ||
        reply->element[i]->type != REDIS_REPLY_STRING)
        return NULL;
    return reply->element[i]->str;
}

/* "Where is the master?" */
static void go_to_master(struct link *l, const redisReply *reply)
{
    const char *host = text_at(reply, 0), *port = text_at(reply, 1);

    if (!host || !port) {
        link_drop(l, "the Sentinel does not know the master");
        return;
    }
    hang_up(l);
    connect_to(l, host, port, false);
}

static bool is_master(const redisReply *reply)
{
    const char *role = text_at(reply, 0);

    return role && strcmp(role, "master") == 0;
}

static void take_greeting(struct link *l, const redisReply *reply)
{
    bool last = --l->questions == 0;

    if (reply->type == REDIS_REPLY_ERROR)
        link_drop(l, reply->str);
    else if (last && l->at_sentinel)
        go_to_master(l, reply);
    else if (last && l->target->uri.master && !is_master(reply))
        link_drop(l, "no master any more");
    else if (last)
        become_up(l);
}

/* --- TLS ------------------------------------------------------------------------------------- */

static bool is_address(const char *host)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *a = NULL;
    bool yes = getaddrinfo(host, NULL, &hints, &a) == 0;

    if (a)
        freeaddrinfo(a);
    return yes;
}

static bool begin_tls(struct link *l)
{
    const char *host = l->host;

    l->ssl = SSL_new(l->target->tls);
    if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1)
        return false;
    SSL_set_connect_state(l->ssl);
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(l->ssl), host) == 1;
    return SSL_set1_host(l->ssl, host) == 1 && SSL_set_tlsext_host_name(l->ssl, host) == 1;
}

/* Is it to be tried again when the socket is ready? */
static bool tls_waits(struct link *l, int result)
{
    int e = SSL_get_error(l->ssl, result);

    l->tls_wants_write = e == SSL_ERROR_WANT_WRITE;
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

static void go_on_handshake(struct link *l)
{
    long verdict;
    int r;

    ERR_clear_error();
    r = SSL_do_handshake(l->ssl);
    if (r == 1) {
        l->tls_wants_write = false;
        come_up(l);
        return;
    }
    if (tls_waits(l, r))
        return;
    verdict = SSL_get_verify_result(l->ssl);
    link_drop(l, verdict == X509_V_OK ? "TLS handshake failed"
                                      : X509_verify_cert_error_string(verdict));
}

static void connected(struct link *l)
{
    socklen_t size = sizeof(int);
    int e = 0;

    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &e, &size) < 0 || e) {
        link_drop(l, strerror(e));
    } else if (!l->target->tls) {
        come_up(l);
    } else if (begin_tls(l)) {
        l->state = LINK_HANDSHAKE;
        go_on_handshake(l);
    } else {
        link_drop(l, "TLS cannot begin");
    }
}

void link_tend(struct link *l)
{
    static const struct slice ping[] = {{(const uint8_t *)"PING", 4}};
    int64_t now = clock_mono_ms();

    if (l->state == LINK_DOWN) {
        if (now >= l->retry_ms)
            begin_connect(l);
    } else if (l->state != LINK_UP) {
        if (now >= l->deadline_ms)
            link_drop(l, l->state == LINK_GREETING ? "no answer" : "connecting took too long");
    } else if (now - l->heard_ms >= SILENT_MS) {
        link_drop(l, "the server is silent");
    } else if (now - MAX(l->heard_ms, l->pinged_ms) >= PING_MS) {
        l->pinged_ms = now;
        link_send(l, 1, ping);
    }
}

/* --- bytes ----------------------------------------------------------------------------------- */

short link_events(const struct link *l)
{
    if (l->state == LINK_DOWN)
        return 0;
    if (l->state == LINK_CONNECTING)
        return POLLOUT;
    return (short)(POLLIN | (l->tls_wants_write || l->out.n ? POLLOUT : 0));
}

/* >0 bytes; 0 nothing now; -1 the end. */
static ssize_t receive(struct link *l, void *p, size_t n)
{
    ssize_t r;

    if (l->ssl) {
        ERR_clear_error();
        r = SSL_read(l->ssl, p, (int)n);
        return r > 0 ? r : tls_waits(l, (int)r) ? 0 : -1;
    }
    r = recv(l->fd, p, n, 0);
    if (r > 0)
        return r;
    return r < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t transmit(struct link *l, const void *p, size_t n)
{
    ssize_t r;

    if (l->ssl) {
        ERR_clear_error();
        r = SSL_write(l->ssl, p, (int)n);
        return r > 0 ? r : tls_waits(l, (int)r) ? 0 : -1;
    }
    r = send(l->fd, p, n, MSG_NOSIGNAL);
    return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static bool talks(const struct link *l)
{
    return l->state == LINK_UP || l->state == LINK_GREETING;
}

static void read_some(struct link *l)
{
    char bytes[16384];
    ssize_t n = talks(l) ? receive(l, bytes, sizeof bytes) : 0;

    if (n == 0)
        return;
    if (n < 0)
        link_drop(l, "the server has hung up");
    else if (redisReaderFeed(l->reader, bytes, (size_t)n) != REDIS_OK ||
             l->reader->len - l->reader->pos > IN_MAX)
        link_drop(l, "the server sends what cannot be");
    else
        l->heard_ms = clock_mono_ms();
}

static void write_all(struct link *l)
{
    while (talks(l) && l->out.n) {
        ssize_t n = transmit(l, l->out.p, l->out.n);

        if (n < 0)
            link_drop(l, "the server has hung up");
        if (n <= 0)
            return;
        buf_consume(&l->out, (size_t)n);
    }
}

/* Bytes that OpenSSL has and poll(2) does not see. */
static bool has_hidden_bytes(const struct link *l)
{
    return l->ssl && SSL_pending(l->ssl) > 0;
}

int64_t link_due_ms(const struct link *l)
{
    int64_t asked_ms;

    switch (l->state) {
    case LINK_DOWN:
        return l->retry_ms;
    case LINK_CONNECTING:
    case LINK_HANDSHAKE:
        return l->deadline_ms;
    case LINK_GREETING:
        return has_hidden_bytes(l) ? 0 : l->deadline_ms;
    case LINK_UP:
        break;
    }
    if (has_hidden_bytes(l))
        return 0;
    asked_ms = MAX(l->heard_ms, l->pinged_ms);
    return MIN(asked_ms + PING_MS, l->heard_ms + SILENT_MS);
}

void link_io(struct link *l, short revents)
{
    if (l->state == LINK_DOWN || (revents == 0 && !has_hidden_bytes(l)))
        return;
    if (l->state == LINK_CONNECTING)
        connected(l);
    else if (l->state == LINK_HANDSHAKE)
        go_on_handshake(l);
    read_some(l);
    write_all(l);
}

redisReply *link_next(struct link *l)
{
    void *reply = NULL;

    while (talks(l)) {
        if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
            link_drop(l, "the server does not speak Redis");
            return NULL;
        }
        if (!reply || l->state == LINK_UP)
            return reply;
        take_greeting(l, reply);
        freeReplyObject(reply);
        reply = NULL;
    }
    return NULL;
}

void link_send(struct link *l, int n, const struct slice *args)
{
    buf_printf(&l->out, "*%d\r\n", n);
    for (int i = 0; i < n; i++) {
        buf_printf(&l->out, "$%zu\r\n", args[i].n);
        buf_add_slice(&l->out, args[i]);
        buf_add_str(&l->out, "\r\n");
    }
    if (buf_full(&l->out))
        link_drop(l, "the server takes nothing");
}
