/* SPDX-License-Identifier: MPL-2.0 */
/* connections: how many connections each account has in this process, whatever the listener, the
 * protocol or the reload of the configuration that their services come from.
 *
 * Bounded by the connections there are. Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct connections;

struct connections *connections_new(void);
/* NULL is fine. When all have been taken out. */
void connections_free(struct connections *c);
/* One more; false: the account has `max` already (0: no limit). */
bool connections_in(struct connections *c, uint64_t account, unsigned max);
void connections_out(struct connections *c, uint64_t account);
