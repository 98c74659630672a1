/* SPDX-License-Identifier: MPL-2.0 */
/* The bus: hints between processes that an account has moved on. "Account A is at seq n."
 *
 * A hint may be lost, doubled, late, or come before the store shows what it speaks of; it changes
 * nothing but latency (I28). Whoever must see the present compares with the store. So nothing here
 * fails towards its caller: publishing never blocks and has no result, and a bus that cannot reach
 * its server goes on trying. After every gap all subscribers are told to look again.
 *
 *   local:                inside one process; between processes that share an embedded store by its
 *                         pulse, 20 times a second
 *   redis://[[USER]:PASSWORD@]HOST[:PORT][?OPTION=VALUE[&OPTION=VALUE]...]
 *   rediss://...          the same over TLS, the server's certificate checked
 *
 * Options (a value has %XX for what has a meaning in URIs; an IPv6 address is in brackets):
 *
 *   prefix=NAME           of the channel's name, NAME:hints; default "eider". Redis's channels are
 *                         the same in all its databases, so this is what keeps two clusters apart
 *   sentinel=NAME         the hosts, up to 16, separated by commas, are Sentinels (port 26379);
 * they are asked for the server that they know by NAME sentinel_user=, sentinel_password= what is
 * said to Sentinels by AUTH cafile=PATH           (rediss) authorities to trust instead of the
 * system's certfile=PATH, keyfile=PATH              (rediss) our own certificate
 *
 * Nodes with the same server and prefix hear each other.
 *
 * Threads: every function may be called from any thread. Each bus has one thread of its own, on
 * which subscribers are called. Make it after fork.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct bus;
struct bus_subscription;

/* For local: a number that changes when another process has written (store_pulse). Called on the
 * bus thread. fn NULL: no other processes. */
struct bus_pulse {
    uint64_t (*fn)(void *ctx);
    void *ctx;
};

/* pulse may be NULL; only local looks at it. The connection is made in the background.
 * 0; -ERR_INVALID: no such kind of bus, or a URI that cannot be; -ERR_UNAVAILABLE: the system gives
 * no thread. */
int bus_open(const char *uri, const struct bus_pulse *pulse, struct bus **ret_bus,
             struct error *err) MUST_USE;
/* All subscriptions must be gone. What was published and not sent yet is lost. NULL is fine. */
void bus_close(struct bus *bus);
/* Is that a URI that bus_open takes? Looks at the files that it names, opens no connection. 0 or
 * -ERR_INVALID. */
int bus_check(const char *uri, struct error *err) MUST_USE;

/* Tells everybody who subscribed to the account, in this process too. Never blocks. If hints come
 * faster than they go out, only the highest seq of an account is kept. */
void bus_publish(struct bus *bus, uint64_t account, uint64_t seq);

/* Waits until what was published has left, but not longer than max_ms: for programs that end. */
void bus_flush(struct bus *bus, int max_ms);

/* fn(ctx, seq) is called on the bus thread when the account may be at seq; seq 0: it is not known
 * where it is, look again. It must not block for long, nor call bus_subscribe or bus_unsubscribe.
 * Never fails; the subscription is the caller's until he ends it. */
struct bus_subscription *bus_subscribe(struct bus *bus, uint64_t account,
                                       void (*fn)(void *ctx, uint64_t seq), void *ctx)
    __attribute__((returns_nonnull)) MUST_USE;
/* When it returns, fn does not run and never will again: so hold no lock that fn takes. NULL is
 * fine. */
void bus_unsubscribe(struct bus_subscription *sub);

/* For /metrics and logs. */
struct bus_counters {
    uint64_t published; /* calls of bus_publish */
    uint64_t received;  /* hints that came, own ones too */
    uint64_t gaps;      /* how often everybody was told to look again */
    uint64_t lost;      /* connections that broke, and attempts that failed */
    bool connected;     /* hints flow; local: always */
};
struct bus_counters bus_read_counters(struct bus *bus);
