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
#include "lib/base/codec.h"
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

/* --- URI ------------------------------------------------------------------------------------- */

/* With %XX resolved; NULL if that is not well-formed or gives a NUL. */
static char *decode(struct slice s)
{
    CLEANUP(buf_done) struct buf out = buf_make(4096);

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%')
            buf_add_byte(&out, s.p[i]);
        else if (hex_decode(&out, slice_sub(s, i + 1, i + 3)) < 0 || s.n - i < 3)
            return NULL;
        else
            i += 2;
    }
    if (buf_full(&out) || slice_find(buf_slice(&out), 0) >= 0)
        return NULL;
    return slice_dup(buf_slice(&out));
}

/* Splits at the first such byte; false: there is none, and all is in *ret_head. */
static bool split(struct slice s, uint8_t at, struct slice *ret_head, struct slice *ret_tail)
{
    ssize_t i = slice_find(s, at);

    *ret_head = i < 0 ? s : slice_sub(s, 0, (size_t)i);
    *ret_tail = i < 0 ? slice_of(NULL, 0) : slice_skip(s, (size_t)i + 1);
    return i >= 0;
}

static bool parse_login(struct link_target *t, struct slice login)
{
    struct slice user, password;

    if (!split(login, ':', &user, &password) || !(t->password = decode(password)))
        return false;
    return user.n == 0 || (t->user = decode(user));
}

static bool parse_host(struct link_target *t, struct slice s)
{
    struct slice host = s, port = {0};
    uint64_t number;

    if (slice_starts(s, S("["))) {
        if (!split(slice_skip(s, 1), ']', &host, &port))
            return false;
        if (port.n && port.p[0] != ':')
            return false;
        port = slice_skip(port, 1);
    } else {
        split(s, ':', &host, &port);
    }
    if (port.n && !slice_to_u64(port, 65535, &number))
        return false;
    t->host = host.n ? decode(host) : NULL;
    t->port = port.n ? slice_dup(port) : mem_strdup("6379");
    return t->host != NULL;
}

static bool parse_option(struct link_target *t, struct slice option, char **ret_cafile)
{
    struct slice name, value;
    char **to;

    split(option, '=', &name, &value);
    to = slice_eq(name, S("channel"))            ? &t->channel
         : slice_eq(name, S("cafile")) && t->tls ? ret_cafile
                                                 : NULL;
    if (!to || *to || value.n == 0)
        return false;
    *to = decode(value);
    return *to != NULL;
}

static bool parse_all(struct link_target *t, struct slice rest, char **ret_cafile)
{
    struct slice place, options, head, tail;

    split(rest, '?', &place, &options);
    if (place.n && place.p[place.n - 1] == '/')
        place.n--;
    if (split(place, '@', &head, &tail)) {
        if (!parse_login(t, head))
            return false;
        place = tail;
    }
    if (!parse_host(t, place))
        return false;
    while (options.n) {
        split(options, '&', &head, &options);
        if (!parse_option(t, head, ret_cafile))
            return false;
    }
    if (!t->channel)
        t->channel = mem_strdup("eider");
    return true;
}

static bool load_authorities(SSL_CTX *tls, const char *cafile)
{
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return cafile ? SSL_CTX_load_verify_locations(tls, cafile, NULL) == 1
                  : SSL_CTX_set_default_verify_paths(tls) == 1;
}

int link_target_parse(struct slice rest, bool tls, struct link_target *ret, struct error *err)
{
    struct link_target t = {0};
    CLEANUP_FREE char *cafile = NULL;
    int r = 0;

    if (tls && !(t.tls = SSL_CTX_new(TLS_client_method())))
        return error_set(err, ERR_INTERNAL, "OpenSSL gives no context");
    if (!parse_all(&t, rest, &cafile))
        r = error_set(err, ERR_INVALID,
                      "a bus is redis://[[USER]:PASSWORD@]HOST[:PORT][?channel=NAME]");
    else if (tls && !load_authorities(t.tls, cafile))
        r = error_set(err, ERR_INVALID, "no certificates in %s", cafile ? cafile : "the system");
    if (r < 0)
        link_target_done(&t);
    else
        *ret = t;
    return r;
}

void link_target_done(struct link_target *t)
{
    if (t->password)
        secret_wipe(t->password, strlen(t->password));
    free(t->host);
    free(t->port);
    free(t->user);
    free(t->password);
    free(t->channel);
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

void link_drop(struct link *l, const char *why)
{
    struct log_line line;

    if (l->state == LINK_DOWN)
        return;
    log_begin(&line, LOG_WARN_, "bus-lost");
    log_str(&line, "link", slice_str(l->name));
    log_str(&line, "server", slice_str(l->target->host));
    log_str(&line, "reason", slice_str(why));
    log_num(&line, "retry_ms", l->backoff_ms);
    log_end(&line);
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
static void begin_connect(struct link *l)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    int r = getaddrinfo(l->target->host, l->target->port, &hints, &all);
    const struct addrinfo *a = all;
    unsigned n = 0;

    for (const struct addrinfo *i = all; i; i = i->ai_next)
        n++;
    for (unsigned skip = n ? l->attempts++ % n : 0; skip; skip--)
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

static void come_up(struct link *l)
{
    const struct link_target *t = l->target;
    struct slice with_user[] = {S("AUTH"), slice_str(t->user), slice_str(t->password)};
    struct slice without[] = {S("AUTH"), slice_str(t->password)};

    l->state = LINK_UP;
    l->ups++;
    l->heard_ms = l->pinged_ms = clock_mono_ms();
    l->reader = redisReaderCreate();
    if (!l->reader)
        abort();
    if (t->password && t->user)
        link_send(l, 3, with_user);
    else if (t->password)
        link_send(l, 2, without);
}

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
    const char *host = l->target->host;

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
            link_drop(l, "connecting took too long");
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

static void read_some(struct link *l)
{
    char bytes[16384];
    ssize_t n = l->state == LINK_UP ? receive(l, bytes, sizeof bytes) : 0;

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
    while (l->state == LINK_UP && l->out.n) {
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

    if (l->state != LINK_UP)
        return NULL;
    if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
        link_drop(l, "the server does not speak Redis");
        return NULL;
    }
    return reply;
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
