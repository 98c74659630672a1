/* SPDX-License-Identifier: MPL-2.0 */
/* net: what a daemon sees of the network: start, listen, count, drain, end.
 *
 *     struct net *net;
 *     net_new(&settings, &net, &err);
 *     net_listen(net, &listener, imap_service, &err);    once for each address
 *     ... wait for a signal ...
 *     net_drain(net, 30000);                             good-byes in waves
 *     net_wait_idle(net, 35000);
 *     net_free(net);
 *
 * Inside: listener.c accepts on one loop and deals connections out over all of them; conn.c is the
 * one pump that moves the bytes of every protocol (lib/base/session.h is its contract); steps of
 * sessions run on a pool of workers. Functions here may be called on any thread that is not a
 * loop's or a worker's; net_read_counters on any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/pool.h"
#include "lib/base/session.h"
#include "lib/net/loop.h"
#include "lib/net/netaddr.h"
#include "lib/net/tls.h"

struct net;

struct net_settings {
    unsigned loops;        /* 0: one per core */
    unsigned workers;      /* threads that run sessions' steps; 0: 16 */
    int64_t handshake_ms;  /* for TLS and the PROXY header, each; 0: 30,000 */
    int64_t stall_ms;      /* output on which the client makes no progress; 0: 600,000 */
    int64_t linger_ms;     /* to read the last output before we close; 0: 10,000 */
    int64_t drain_busy_ms; /* how long a drain leaves a session inside a command; 0: 10,000 */
};

enum net_proxy {
    NET_PROXY_OFF,      /* no header is looked for */
    NET_PROXY_REQUIRED, /* every connection starts with one, and comes from proxy_networks */
};

/* All is copied but `tls`, which must outlive the net. */
struct net_listener {
    const char *address; /* as netaddr_parse has it; a socket that systemd opened there is used */
    bool implicit_tls;   /* handshake first (IMAPS); needs tls */
    struct tls *tls;     /* NULL: no TLS here, a session that wants STARTTLS is closed */
    unsigned unix_mode;  /* of a UNIX socket, e.g. 0660; 0: 0600 */
    int backlog;         /* 0: 1024 */
    unsigned max_connections;            /* open at once on this listener; 0: 10,000 */
    unsigned max_connections_per_client; /* from one IPv4 address or IPv6 /64; 0: no limit */
    bool through_drain; /* goes on accepting in a drain, until net_free: what tells of the drain */
    enum net_proxy proxy;
    const struct network *proxy_networks; /* who may send PROXY headers; any UNIX socket may */
    size_t proxy_networks_n;
};

/* Ignores SIGPIPE for the process. 0, -ERR_INVALID, -ERR_UNAVAILABLE. */
int net_new(const struct net_settings *settings, struct net **ret_net, struct error *err) MUST_USE;
/* Breaks what is still open, waits for running steps, ends all threads. NULL is fine. */
void net_free(struct net *net);

/* `service` must outlive the net. 0, -ERR_INVALID (address), -ERR_EXISTS (the address is in use;
 * the sentence says so plainly), -ERR_NOPERM (a port below 1024, a folder), -ERR_UNAVAILABLE. */
int net_listen(struct net *net, const struct net_listener *listener,
               struct session_service *service, struct error *err) MUST_USE;
/* The address of the i-th listener as it really is (port 0 was replaced). NULL: no such one.
 * Valid until net_free. */
const char *net_listener_address(struct net *net, size_t i);

/* New connections of the i-th listener get their sessions from this service; those that are open
 * keep theirs, so the old one must outlive the net as well. */
void net_replace_service(struct net *net, size_t i, struct session_service *service);
/* Another handshake_ms for clients, those that are waited for included. Any thread. */
void net_set_handshake(struct net *net, int64_t handshake_ms);

/* ---- outgoing ---- */

struct net_target {
    struct netaddr to;
    const struct netaddr *from; /* of this machine; its port is taken as it is; NULL: any */
    int64_t connect_ms;         /* 0: 30,000 */
    bool implicit_tls;          /* handshake first; needs ssl */
    SSL *ssl; /* from tls_client_prepare, the net's from now on; NULL: no TLS can be had */
};

/* Any thread. Connects, and runs the session there (lib/base/session.h says how it is told); from
 * now on it belongs to the net. While a server is slow no thread is held. */
void net_connect(struct net *net, const struct net_target *target, struct session *session);

/* Stops accepting at once (but see through_drain) and shows SESSION_SHUTDOWN to all sessions: in
 * waves over grace_ms, but never fewer than 64 in a tenth of a second, so a few are told at once.
 */
void net_drain(struct net *net, int64_t grace_ms);
/* Until no connection is open, or timeout_ms have passed. True: none is. */
bool net_wait_idle(struct net *net, int64_t timeout_ms);

/* For the bus and others that live on the same loops and workers. */
struct loops *net_loops(struct net *net);
struct pool *net_workers(struct net *net);

/* For /metrics and logs: since the start, except `open`. */
struct net_counters {
    uint64_t accepted;  /* connections taken from the kernel */
    uint64_t open;      /* now */
    uint64_t refused;   /* turned away at a limit */
    uint64_t proxy_bad; /* PROXY header missing, damaged or not allowed */
    uint64_t tls_done;  /* handshakes finished */
    uint64_t tls_failed;
    uint64_t bytes_in, bytes_out; /* as protocols see them, without TLS */
    uint64_t steps;               /* runs of ops->step */
    uint64_t broken;              /* connections that ended without a close by either protocol */
    uint64_t accept_pauses;       /* times that file descriptors ran out */
    uint64_t connected;           /* outgoing connections made */
    uint64_t connect_failed;      /* and those that were not to be had */
    struct pool_counters workers;
};
struct net_counters net_read_counters(struct net *net);
