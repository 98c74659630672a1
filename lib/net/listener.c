/* SPDX-License-Identifier: MPL-2.0 */
/* listener: one socket that is listened at.
 *
 * One loop accepts and deals the connections out over all loops in turn. (A socket per loop with
 * SO_REUSEPORT would let a second server start at the same port unnoticed, and deals unevenly;
 * accepting is cheap beside what follows it.) When file descriptors run out, accepting pauses: what
 * waits in the kernel's queue is served when some are free again.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/net/inside.h"

#define HASH_FUNCTION(key, n, ret) ((ret) = (unsigned)hash_keyed(slice_of((key), (n))))
#include <uthash.h>

#define BACKLOG_DEFAULT         1024
#define MAX_CONNECTIONS_DEFAULT 10000
#define ACCEPTS_PER_TURN        64
#define PAUSE_MS                200
#define PAUSE_LOG_MS            10000

struct client {
    UT_hash_handle hh;
    uint8_t key[16];
    unsigned n;
};

bool listener_count_client(struct listener *l, const uint8_t *key, size_t key_n)
{
    unsigned max = l->settings.max_connections_per_client;
    struct client *client;

    if (max == 0 || key_n == 0)
        return true;
    pthread_mutex_lock(&l->lock);
    HASH_FIND(hh, l->clients, key, key_n, client);
    if (!client) {
        client = NEW(struct client);
        memcpy(client->key, key, key_n);
        HASH_ADD_KEYPTR(hh, l->clients, client->key, key_n, client);
    }
    bool fine = client->n < max;
    if (fine)
        client->n++;
    pthread_mutex_unlock(&l->lock);
    return fine;
}

void listener_uncount_client(struct listener *l, const uint8_t *key, size_t key_n)
{
    struct client *client;

    if (l->settings.max_connections_per_client == 0 || key_n == 0)
        return;
    pthread_mutex_lock(&l->lock);
    HASH_FIND(hh, l->clients, key, key_n, client);
    if (client && --client->n == 0) {
        HASH_DEL(l->clients, client);
        free(client);
    }
    pthread_mutex_unlock(&l->lock);
}

/* ---- Accepting ---- */

static void pause_accept(struct listener *l)
{
    int64_t now = clock_mono_ms();

    COUNT(l->net, accept_pauses, 1);
    if (l->told_ms == 0 || now - l->told_ms > PAUSE_LOG_MS) {
        log_text(LOG_WARN_, "accept_pause", "%s: %m; new connections wait", l->address);
        l->told_ms = now;
    }
    event_del(&l->event);
    loop_timer_set(&l->pause, now + PAUSE_MS);
}

static void end_pause(struct loop_timer *timer)
{
    struct listener *l = CONTAINER_OF(timer, struct listener, pause);

    if (l->fd >= 0)
        event_add(&l->event, NULL);
}

/* Too many on this listener: told in plain text if the protocol has words for it, and closed. */
static void turn_away(struct listener *l, int fd)
{
    const char *text = atomic_load(&l->service)->refusal;

    COUNT(l->net, refused, 1);
    if (text && !l->settings.implicit_tls && l->settings.proxy == NET_PROXY_OFF)
        (void)!send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void take_connection(struct listener *l, int fd)
{
    struct net *net = l->net;

    COUNT(net, accepted, 1);
    if (atomic_fetch_add(&l->open, 1) >= l->settings.max_connections) {
        atomic_fetch_sub(&l->open, 1);
        turn_away(l, fd);
        return;
    }
    pthread_mutex_lock(&net->lock);
    net->open++;
    pthread_mutex_unlock(&net->lock);

    struct loop *loop = loops_next(net->loops);

    for (unsigned i = 0; i < net->shards_n; i++)
        if (net->shards[i].loop == loop)
            conn_start(&net->shards[i], l, fd);
}

static void on_connection(evutil_socket_t listening, short what, void *arg)
{
    struct listener *l = arg;

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_connection(l, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accept(l);
            return;
        }
        if (errno == EAGAIN)
            return;
        /* ECONNABORTED and the network's errors belong to one connection: on to the next */
    }
}

/* ---- Opening ---- */

static int fail_open(const char *address, struct error *err)
{
    switch (errno) {
    case EADDRINUSE:
        return error_set(err, ERR_EXISTS, "%s is in use: another program listens there already",
                         address);
    case EACCES:
    case EPERM:
        return error_set(err, ERR_NOPERM, "not allowed to listen at %s (%m)", address);
    case EADDRNOTAVAIL:
        return error_set(err, ERR_INVALID, "%s is not an address of this machine", address);
    default:
        return error_set(err, ERR_UNAVAILABLE, "cannot listen at %s: %m", address);
    }
}

static void set_option(int fd, int level, int option, int value)
{
    (void)!setsockopt(fd, level, option, &value, sizeof value);
}

/* Accepted sockets inherit these. Without TCP_NODELAY the first replies over TLS wait 40 ms;
 * keep-alive finds clients that went away without a word. */
static void set_tcp_options(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 600);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 60);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
}

static int open_tcp(struct listener *l, struct netaddr *a, bool any, struct error *err)
{
    int fd = socket(a->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 && any && a->sa.any.sa_family == AF_INET6) { /* a machine without IPv6 */
        uint16_t port = a->sa.v6.sin6_port;

        *a = (struct netaddr){.n = sizeof a->sa.v4};
        a->sa.v4.sin_family = AF_INET;
        a->sa.v4.sin_port = port;
        return open_tcp(l, a, false, err);
    }
    if (fd < 0)
        return fail_open(l->settings.address, err);
    l->fd = fd;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (a->sa.any.sa_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !any);
    set_tcp_options(fd);
    if (bind(fd, &a->sa.any, a->n) != 0)
        return fail_open(l->settings.address, err);
    return 0;
}

/* A socket file that nobody listens at was left behind by a crash, and may go. */
static bool remove_stale(const struct netaddr *a)
{
    struct stat st;
    int fd = -1;

    if (lstat(a->sa.un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, &a->sa.any, a->n) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale && unlink(a->sa.un.sun_path) == 0;
}

static int open_unix(struct listener *l, const struct netaddr *a, struct error *err)
{
    const char *path = a->sa.un.sun_path;
    struct stat st;

    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return fail_open(path, err);
    if (bind(l->fd, &a->sa.any, a->n) != 0) {
        if (errno != EADDRINUSE || !remove_stale(a) || bind(l->fd, &a->sa.any, a->n) != 0) {
            errno = errno == ECONNREFUSED ? EADDRINUSE : errno;
            return fail_open(path, err);
        }
    }
    l->unix_path = mem_strdup(path);
    /* nobody can connect before listen(), so there is no moment with another mode */
    if (chmod(path, l->settings.unix_mode) != 0 || lstat(path, &st) != 0)
        return fail_open(path, err);
    l->unix_dev = st.st_dev;
    l->unix_ino = st.st_ino;
    return 0;
}

/* A socket that systemd has opened for us at this very address (socket activation). */
static bool take_inherited(struct listener *l, const struct netaddr *wanted)
{
#ifdef HAVE_SYSTEMD
    int n = sd_listen_fds(0);

    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
        struct netaddr a = {.n = sizeof a.sa};
        char one[NETADDR_TEXT_MAX], other[NETADDR_TEXT_MAX];

        if (getsockname(fd, &a.sa.any, &a.n) != 0 ||
            strcmp(netaddr_format(&a, one), netaddr_format(wanted, other)) != 0)
            continue;
        evutil_make_socket_nonblocking(fd);
        evutil_make_socket_closeonexec(fd);
        set_tcp_options(fd);
        l->fd = fd;
        return true;
    }
#endif
    return false;
}

static int open_socket(struct listener *l, struct error *err)
{
    const char *text = l->settings.address;
    struct netaddr a;
    int rc = netaddr_parse(text, &a, err);

    if (rc < 0 || take_inherited(l, &a))
        return rc;
    return netaddr_is_unix(&a) ? open_unix(l, &a, err) : open_tcp(l, &a, text[0] == '*', err);
}

static void start_accepting(void *arg)
{
    struct listener *l = arg;

    event_assign(&l->event, loop_base(l->loop), l->fd, EV_READ | EV_PERSIST, on_connection, l);
    loop_timer_init(&l->pause, l->loop, end_pause);
    event_add(&l->event, NULL);
    l->opened = true;
}

static void name_address(struct listener *l)
{
    struct netaddr a = {.n = sizeof a.sa};

    if (getsockname(l->fd, &a.sa.any, &a.n) == 0)
        netaddr_format(&a, l->address);
}

static void copy_settings(struct listener *l, const struct net_listener *from)
{
    l->settings = *from;
    l->settings.address = mem_strdup(from->address);
    if (from->proxy_networks_n > 0)
        l->settings.proxy_networks =
            mem_dup(from->proxy_networks, from->proxy_networks_n * sizeof *from->proxy_networks);
    if (l->settings.max_connections == 0)
        l->settings.max_connections = MAX_CONNECTIONS_DEFAULT;
    if (l->settings.unix_mode == 0)
        l->settings.unix_mode = 0600;
    if (l->settings.backlog == 0)
        l->settings.backlog = BACKLOG_DEFAULT;
}

int listener_open(struct net *net, const struct net_listener *settings,
                  struct session_service *service, struct listener **ret, struct error *err)
{
    if (settings->implicit_tls && !settings->tls)
        return error_set(err, ERR_INVALID, "%s: TLS without a certificate", settings->address);

    struct listener *l = NEW(struct listener);

    l->net = net;
    atomic_init(&l->service, service);
    l->fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    copy_settings(l, settings);
    int rc = open_socket(l, err);
    if (rc == 0 && listen(l->fd, l->settings.backlog) != 0)
        rc = fail_open(settings->address, err);
    if (rc < 0) {
        listener_free(l);
        return rc;
    }
    name_address(l);
    l->loop = loops_next(net->loops);
    loop_call(l->loop, start_accepting, l);
    *ret = l;
    return 0;
}

static void stop_accepting(void *arg)
{
    struct listener *l = arg;

    event_del(&l->event);
    loop_timer_done(&l->pause);
    close(l->fd);
    l->fd = -1;
    l->opened = false;
}

void listener_close(struct listener *l)
{
    struct stat st;

    if (l->opened)
        loop_call(l->loop, stop_accepting, l);
    mem_close_fd(&l->fd);
    if (l->unix_path && lstat(l->unix_path, &st) == 0 && st.st_dev == l->unix_dev &&
        st.st_ino == l->unix_ino)
        unlink(l->unix_path);
    free(TAKE(l->unix_path));
}

void listener_free(struct listener *l)
{
    listener_close(l);
    free((char *)l->settings.address);
    if (l->settings.proxy_networks_n > 0)
        free((struct network *)l->settings.proxy_networks);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
