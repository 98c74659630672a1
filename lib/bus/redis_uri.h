/* SPDX-License-Identifier: MPL-2.0 */
/* The URI of a bus over Redis, taken apart (its form: bus.h). No threads, no sockets. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define REDIS_PLACES_MAX 16

struct redis_place {
    char *host, *port; /* host: a name, or a numeric address without brackets */
};

struct redis_login {
    char *user, *password; /* NULL: none; user without password: never */
};

struct redis_uri {
    bool tls;
    struct redis_place places[REDIS_PLACES_MAX]; /* the server, or Sentinels */
    size_t places_n;                             /* 1 or more; without Sentinel 1 */
    struct redis_login login;                    /* to the server */
    struct redis_login sentinel_login;
    char *master;             /* the name that Sentinels know the server by; NULL: no Sentinel */
    char *prefix;             /* of channel names; never NULL */
    char *cafile;             /* NULL: the system's authorities */
    char *certfile, *keyfile; /* ours, for a server that asks for one; NULL: none */
};

/* What follows redis:// or rediss:// (tls). 0, or -ERR_INVALID with a sentence that tells nothing
 * of the URI. */
int redis_uri_parse(struct slice rest, bool tls, struct redis_uri *ret, struct error *err) MUST_USE;
void redis_uri_done(struct redis_uri *u);
