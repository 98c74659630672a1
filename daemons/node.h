/* SPDX-License-Identifier: MPL-2.0 */
/* node: all parts of one serving process, put together from its settings and taken apart again.
 *
 * Order matters: each part uses those above it in the struct, so node_free goes from the bottom up.
 */
#pragma once

#include <stdatomic.h>

#include "lib/base/mem.h"
#include "lib/conf/conf.h"
#include "lib/net/net.h"
#include "protocols/submit/submit.h"

struct node {
    struct conf *conf;           /* as of the start */
    VEC(struct conf *) reloaded; /* later ones: sessions may borrow from any */
    unsigned protocols;
    struct store *store;
    struct bus *bus;
    struct directory *directory;
    struct auth *auth;
    struct mail *mail;
    _Atomic int64_t expire_ms; /* mail.expire, also after a reload */
    struct sweeper *sweeper;
    struct queue *queue; /* where submission puts mail to others, and sending takes it from */
    struct rates *rates; /* of submission's limits */
    struct monitor *monitor;
    struct tls *tls; /* NULL: no listener wants it */
    VEC(struct session_service *)
    imap, pop3, lmtp, submission; /* also those that a reload has replaced */
    struct submit_counters sent;  /* of all submission services */
    struct net *net;
    struct sending *sending; /* what runs the queue; NULL: not here. It uses net */
};

/* Takes conf over. Opens everything and listens, for the protocols of the mask (1 << enum
 * conf_protocol). -ERR_x with a sentence for whoever starts the server; then nothing is left. */
int node_new(struct conf *conf, unsigned protocols, struct node **ret_node,
             struct error *err) MUST_USE;
/* Connections that are open are broken: drain first. NULL is fine. */
void node_free(struct node *node);
/* Takes what a running node can take from newly read settings: the log level, certificates, and
 * for new connections the limits. 0: fresh is the node's now. -ERR_x: all stays as it was, and
 * fresh is the caller's. */
int node_reload(struct node *node, struct conf *fresh, struct error *err) MUST_USE;
