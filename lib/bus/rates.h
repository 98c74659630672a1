/* SPDX-License-Identifier: MPL-2.0 */
/* Counts for limits (lib/base/rates.h) that all nodes share: in the same Redis as the bus. */
#pragma once

#include "lib/base/rates.h"

/* bus_uri as bus_open takes it. "local:" counts in this process. redis:// and rediss:// count in
 * Redis, under PREFIX:rate:HASH; keys expire by themselves. A user with restricted rights needs
 * ~PREFIX:rate:* +eval +time +hmget +hset +pexpire there besides what the bus needs.
 *
 * rates_take waits for RATES_WAIT_MS at most. Where Redis is away, slow or says no, this process
 * counts in its own memory (from zero) until it is back: each process then lets through as much as
 * the limit says.
 *
 * max_keys: what is held in this process. Make it after fork. 0; -ERR_INVALID no such kind, or a
 * URI that cannot be; -ERR_UNAVAILABLE the system gives no thread. */
#define RATES_WAIT_MS 500
int rates_open(const char *bus_uri, size_t max_keys, struct rates **ret,
               struct error *err) MUST_USE;
