/* SPDX-License-Identifier: MPL-2.0 */
/* transport: takes mail to other servers by SMTP. One job is one attempt for one queue entry: the
 * recipients of one message at one destination.
 *
 * It finds out where (routes to smarthosts, MX with DNSSEC, address order and fallback), how safe
 * (opportunistic TLS, DANE, MTA-STS, REQUIRETLS), reuses connections, and bounds how many there are
 * for each destination. It decides nothing about later: that is the runner's (runner.h), which gets
 * a result for every recipient.
 *
 * Threads: transport_send on any thread; `done` comes on a worker of the net, exactly once.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/queue/queue.h"

struct transport;

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
};

/* How many jobs for this destination would go out at once now. 0: it is busy, or known to be
 * unreachable for the moment; then *ret_wait_ms (may be NULL) is when to ask again. */
unsigned transport_room(struct transport *t, const char *destination, int64_t *ret_wait_ms);
/* The job is the transport's until `done`. */
void transport_send(struct transport *t, struct transport_job *job);
