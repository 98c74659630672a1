/* SPDX-License-Identifier: MPL-2.0 */
/* runner: the part of a node that takes what is due from the queue and sees it through. Every node
 * may have one; none owns an entry for longer than a lease.
 *
 * What it guarantees (docs/queue.md): each recipient of a submitted message is attempted until it
 * has a final result; one whose final result is recorded is not attempted again (I29); each bounce,
 * warning and success report is made once, into the sender's account.
 *
 * Threads: one that decides (reads the due index, picks, renews leases), and a pool of workers that
 * wait for the store. Attempts under way are the transport's; a message has no thread.
 */
#pragma once

#include "lib/queue/queue.h"
#include "lib/queue/transport.h"

struct mail;
struct runner;

/* Who takes mail away: transport.h, or a test's. The functions may be called from any thread; room
 * is called a lot, and must not wait. */
struct runner_transport {
    unsigned (*room)(struct transport *t, const char *destination, int64_t *ret_wait_ms);
    void (*send)(struct transport *t, struct transport_job *job);
    struct transport *transport;
    /* Who takes mail for domains that are ours (protocols/submit/here.h); NULL: all goes away.
     * Blocks, on a worker of the runner. 1: all recipients of the job have their results, `done` is
     * not called; 0: the destination is not ours, nothing is done. */
    int (*here)(void *here_context, struct transport_job *job);
    void *here_context;
};

#define RUNNER_WARNINGS 4

struct runner_settings {
    const char *hostname;             /* in notices, and the domain of their sender */
    int64_t retry_first_ms;           /* after the first failed attempt; default 5 min */
    double retry_factor;              /* each further interval is so much longer; default 2 */
    int64_t retry_max_ms;             /* default 4 h. A tenth more or less of each by chance */
    int64_t expiry_ms;                /* then what is left is bounced; default 5 days */
    int64_t warn_ms[RUNNER_WARNINGS]; /* delay warnings at these ages, ascending; 0 ends them;
                                         default 4 h */
    int64_t lease_ms;                 /* default 2 min; renewed when half of it is gone */
    unsigned concurrency;             /* attempts at once, of all destinations; default 200 */
    unsigned workers;                 /* threads that wait for the store; default 16 */
    int64_t poll_ms;                  /* how often the due index is looked at; default 1,000 */
    int64_t reread_ms;                /* and read again from its beginning; default 5 min */
    int64_t sweep_ms;      /* pause between rounds of the sweep; default 10 min; below 0: none */
    uint64_t return_max;   /* octets of a message that a bounce returns whole; default 50 KiB */
    size_t memory_entries; /* due entries known at once; default 500,000 */
    size_t memory_destination; /* of one destination; default 20,000 */
};
void runner_settings_default(struct runner_settings *settings);

/* The others stay the caller's and must outlive it. Starts its threads. mail: where notices go;
 * NULL (tests, measurements): none are made. -ERR_UNAVAILABLE (no threads). */
int runner_new(const struct runner_settings *settings, struct queue *queue, struct mail *mail,
               const struct runner_transport *transport, struct runner **ret_runner,
               struct error *err) MUST_USE;
/* Something may be due now: for what was queued elsewhere. (What this process queues, it knows of.)
 * Any thread. */
void runner_wake(struct runner *runner);
/* Begins no more attempts, gives leases back, and waits up to wait_ms for attempts under way.
 * True: none is left. May be called again. */
bool runner_drain(struct runner *runner, int64_t wait_ms);
/* Drains, and waits until all attempts are recorded or have failed to be: the transport must have
 * ended them (their results come), or be about to. NULL is fine. */
void runner_free(struct runner *runner);

/* For /metrics: since the start, but the last three. */
struct runner_counters {
    uint64_t attempts;                    /* entries handed to the transport */
    uint64_t delivered, deferred, failed; /* recipients */
    uint64_t expired;                     /* of the failed */
    uint64_t bounces, warnings, reports;  /* notices delivered; reports: of success */
    uint64_t dropped;                     /* notices to nobody: no account, or it takes none */
    uint64_t leases, leases_lost;         /* taken; found to be another's */
    uint64_t found_out;                   /* results that were recorded on another's change */
    uint64_t rows_read, rereads, stale_rows, swept;
    uint64_t running, known, destinations;
};
struct runner_counters runner_read_counters(struct runner *runner);
