/* SPDX-License-Identifier: MPL-2.0 */
/* limiter: failed logins, counted per client address and per login, in the memory of this process.
 *
 * Each failure makes the next answer slower; past `free` of them, attempts that come before the
 * last delay is over are not looked at. Counts halve every LIMITER_HALF_MS. The same wrong password
 * again is no new guess (a phone that was not told of the new one) and does not count. A client
 * that has logged in to this account before is never shut out by what others do. Clients on UNIX
 * sockets and loopback addresses are counted by login only: a web mail server stands for all its
 * users.
 *
 * Bounded: LIMITER_ENTRIES, the longest unused goes first. Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define LIMITER_HALF_MS (10 * 60 * 1000)
#define LIMITER_ENTRIES 65536

struct limiter;

struct limiter *limiter_new(unsigned free, int64_t delay_ms, int64_t delay_max_ms) MUST_USE;
void limiter_free(struct limiter *l);

/* Who tries: made once per attempt. */
struct limiter_who {
    uint8_t address[16], login[16], pair[16]; /* keyed hashes */
    bool has_address;                         /* false: counted by login only */
};
/* remote: numeric address or "unix". login: normalised, or as typed if it cannot be. */
void limiter_identify(const struct limiter *l, const char *remote, struct slice login,
                      struct limiter_who *ret);

/* May the attempt be looked at? now: clock_mono_ms(). */
bool limiter_admit(struct limiter *l, const struct limiter_who *who, int64_t now);
/* Counts a failure. guess: hash of what was tried (all zero: not known, always counts). Returns how
 * many ms the answer is to be held back. */
int64_t limiter_failed(struct limiter *l, const struct limiter_who *who,
                       const uint8_t guess[static 16], int64_t now);
/* How long an answer is held back to one who was not admitted. Counts nothing. */
int64_t limiter_delay(struct limiter *l, const struct limiter_who *who, int64_t now);
void limiter_succeeded(struct limiter *l, const struct limiter_who *who, int64_t now);
