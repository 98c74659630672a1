/* SPDX-License-Identifier: MPL-2.0 */
/* What the files of lib/net share and nobody else sees. */
#pragma once

#include <stdatomic.h>
#include <sys/queue.h>

#include "lib/net/net.h"
#include "lib/net/wire.h"

TAILQ_HEAD(conn_list, conn);

/* The connections of one loop; on its thread only. */
struct shard {
    struct net *net;
    struct loop *loop;
    struct conn_list conns;
    size_t conns_n;
    struct loop_timer drain_timer;
    int64_t drain_end_ms;
};

/* One column of struct net_counters each; relaxed: they are read by eyes. */
struct counters {
    _Atomic uint64_t accepted, refused, proxy_bad, tls_done, tls_failed;
    _Atomic uint64_t bytes_in, bytes_out, steps, broken, accept_pauses;
    _Atomic uint64_t connected, connect_failed;
};
#define COUNT(net, member, by)                                                                     \
    atomic_fetch_add_explicit(&(net)->counters.member, (by), memory_order_relaxed)

struct client; /* how many connections one client has; listener.c */

struct listener {
    struct net *net;
    struct session_service *_Atomic service;
    struct net_listener settings; /* address and networks are copies of our own */
    char address[NETADDR_TEXT_MAX];
    struct loop *loop; /* which accepts */
    int fd;
    struct event event;
    struct loop_timer pause;
    bool opened;     /* event and pause are set up */
    int64_t told_ms; /* when a pause was logged last */
    _Atomic unsigned open;
    pthread_mutex_t lock; /* clients */
    struct client *clients;
    char *unix_path; /* to be removed at the end; NULL: not ours */
    dev_t unix_dev;
    ino_t unix_ino;
};

struct net {
    struct net_settings settings;
    struct loops *loops;
    struct pool *workers;
    unsigned shards_n;
    struct shard *shards; /* one for each loop */
    pthread_mutex_t lock; /* listeners, open, idle */
    VEC(struct listener *) listeners;
    uint64_t open;
    pthread_cond_t idle; /* open has become 0 */
    _Atomic uint64_t next_id;
    _Atomic int64_t handshake_ms; /* of clients; the settings' is for outgoing ones */
    _Atomic bool draining;
    _Atomic unsigned staying; /* workers that wait for a client's next command */
    struct counters counters;
};

/* listener.c */
int listener_open(struct net *net, const struct net_listener *settings,
                  struct session_service *service, struct listener **ret,
                  struct error *err) MUST_USE;
void listener_close(struct listener *l); /* stops accepting; any thread but workers; twice is ok */
void listener_free(struct listener *l);
/* Any loop thread. False: the client has as many as it may have. key_n 0 is always let in. */
bool listener_count_client(struct listener *l, const uint8_t *key, size_t key_n);
void listener_uncount_client(struct listener *l, const uint8_t *key, size_t key_n);

/* tls_client.c */
void tls_client_fill_peer(SSL *ssl, struct session_peer *peer);
/* Why a handshake as a client failed, in words. */
void tls_client_failure(SSL *ssl, char *ret, size_t ret_n);

/* conn.c */
struct conn;
/* Takes fd over, on any thread: the connection begins on the shard's loop. */
void conn_start(struct shard *shard, struct listener *l, int fd);
/* Connects the session, on any thread; see net_connect. */
void conn_connect(struct shard *shard, const struct net_target *target, struct session *session);
/* On the shard's loop: one tick of a drain. */
void conn_drain_tick(struct loop_timer *timer);
/* On the shard's loop: breaks all its connections. */
void conn_break_all(struct shard *shard);
