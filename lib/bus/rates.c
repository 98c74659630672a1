/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/bus/rates.h"

#include "lib/bus/bus_impl.h"

int rates_open(const char *bus_uri, size_t max_keys, struct rates **ret, struct error *err)
{
    struct slice uri = slice_str(bus_uri);
    int r = bus_check(bus_uri, err);

    if (r < 0)
        return r;
#ifdef BUS_HAS_REDIS
    if (slice_starts(uri, S("redis://")))
        return rates_redis_open(slice_skip(uri, 8), false, max_keys, ret, err);
    if (slice_starts(uri, S("rediss://")))
        return rates_redis_open(slice_skip(uri, 9), true, max_keys, ret, err);
#endif
    *ret = rates_memory_new(max_keys);
    return 0;
}
