/* SPDX-License-Identifier: MPL-2.0 */
/* transport: takes mail to other servers by SMTP. One job is one attempt for one queue entry: the
 * recipients of one message at one destination.
 *
 * It finds out where (routes to smarthosts, MX with DNSSEC, address order and fallback), how safe
 * (opportunistic TLS, DANE, MTA-STS, REQUIRETLS), reuses connections, and bounds how many there are
 * for each destination. It decides nothing about later: that is the runner's (runner.h), which gets
 * a result for every recipient.
 *
 * Life: transport_new, any number of jobs, transport_stop, net_free, transport_free. Every job is
 * done before net_free returns.
 *
 * Threads: transport_send on any thread; `done` comes on a worker of the net, exactly once.
 */
#pragma once

#include <sys/queue.h>

#include "lib/base/buf.h"
#include "lib/base/pool.h"
#include "lib/queue/queue.h"

struct net;
struct network;
struct transport;

enum transport_tls {
    TRANSPORT_TLS_NONE,          /* not even if it is offered */
    TRANSPORT_TLS_OPPORTUNISTIC, /* if it is offered; nobody is verified */
    TRANSPORT_TLS_REQUIRED,      /* STARTTLS, and a certificate that fits */
    TRANSPORT_TLS_IMPLICIT,      /* the same, from the first byte on (port 465) */
};

/* A smarthost: a server that takes mail for others. */
struct transport_route {
    const char *domain; /* destination in A-labels; ".example.org": all below it; "*": the rest */
    const char *host;   /* name or numeric address */
    uint16_t port;
    enum transport_tls tls;
    bool verify;                 /* false: REQUIRED and IMPLICIT take any certificate */
    const char *user, *password; /* "": no AUTH */
};

enum transport_family {
    TRANSPORT_V6_FIRST,
    TRANSPORT_V4_FIRST,
    TRANSPORT_V6_ONLY,
    TRANSPORT_V4_ONLY,
};

/* Zeroes are defaults. All strings and lists must outlive the transport. */
struct transport_settings {
    const char *hostname; /* ours: in EHLO, and to see that mail would come back to us */
    const struct transport_route *routes; /* the first that fits is taken; none: by MX */
    size_t routes_n;
    uint16_t port;                 /* of servers found by MX; 25 */
    uint16_t sts_port;             /* of policies; 443 */
    const char *servers;           /* dns.h */
    const char *trust_anchor;      /* dns.h */
    int64_t dns_timeout_ms;        /* of one question; 20,000 */
    const char *ca_file;           /* "": the system's CAs */
    const char *source4, *source6; /* numeric addresses to send from; "": any */
    enum transport_family family;
    bool no_dane, no_sts;
    const struct network *local_networks; /* loopback addresses that MX records may name */
    size_t local_networks_n;
    unsigned concurrency;  /* connections to one destination; 10 */
    unsigned messages_max; /* of one connection; 100 */
    int64_t idle_ms;       /* that a connection waits for the next message; 5,000 */
    int64_t timeout_ms;    /* of a reply (smtp_client.h); 300,000 */
    int64_t connect_ms;    /* 30,000 */
};

/* 0; -ERR_INVALID (an address, a file), -ERR_NOTFOUND (the trust anchor), -ERR_UNAVAILABLE. */
int transport_new(const struct transport_settings *settings, struct net *net,
                  struct transport **ret, struct error *err) MUST_USE;
/* Answers what waits with LATER, and all that is sent from now on. What is under way goes on until
 * it ends or the net does. Not on a loop. NULL is fine. */
void transport_stop(struct transport *t);
/* The net must be gone. NULL is fine. */
void transport_free(struct transport *t);

enum transport_result {
    TRANSPORT_DELIVERED, /* the final 250 was read */
    TRANSPORT_LATER,     /* 4yz, no connection, no answer: try again */
    TRANSPORT_FAILED,    /* 5yz, no such domain, null MX (RFC 7505): final */
};

struct transport_recipient {
    const struct queue_recipient *to;
    /* results; strings in the job's arena */
    enum transport_result result;
    unsigned code;      /* of the server's reply; 0: there was none */
    const char *status; /* enhanced code (RFC 3463): the server's, or one that fits */
    const char *text;   /* the reply, or a sentence of our own */
    const char *remote; /* name of the server that answered, "" if none did */
    bool relayed_dsn;   /* DELIVERED to a server that offers DSN: it tells of success itself */
};

struct transport_job {
    const struct queue_envelope *envelope;
    const char *destination; /* domain in A-labels, or "[address]" */
    struct slice head;       /* header lines that go in front of the body (DKIM-Signature) */
    uint64_t size;           /* octets of the body */
    /* Appends bytes of the body from offset on, n at most, one at least. Blocks; on a worker. */
    int (*read)(struct transport_job *job, uint64_t offset, size_t n, struct buf *out,
                struct error *err);
    struct transport_recipient *recipients;
    size_t n;
    struct arena arena;
    /* All recipients have their results; the job is the caller's again. */
    void (*done)(struct transport_job *job);
    void *context;

    /* the transport's own */
    TAILQ_ENTRY(transport_job) link;
    struct pool_job pool_job;
};

/* How many jobs for this destination would go out at once now. 0: it is busy, or known to be
 * unreachable for the moment; then *ret_wait_ms (may be NULL) is when to ask again. */
unsigned transport_room(struct transport *t, const char *destination, int64_t *ret_wait_ms);
/* The job is the transport's until `done`. */
void transport_send(struct transport *t, struct transport_job *job);

/* For /metrics; since the start, but for the first two. */
struct transport_counters {
    uint64_t jobs, connections;            /* now: not answered; open or being opened */
    uint64_t delivered, later, failed;     /* recipients */
    uint64_t connected, unreachable;       /* connections that were ready for mail; were not */
    uint64_t reused;                       /* messages on a connection that had one before */
    uint64_t plain, tls, tls_ca, tls_dane; /* of `connected`: protected, verified, and how */
    uint64_t policy_refused;               /* servers passed over for what TLS policies say */
};
struct transport_counters transport_read_counters(struct transport *t);
