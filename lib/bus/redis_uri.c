/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/bus/redis_uri.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define PORT_SERVER   "6379"
#define PORT_SENTINEL "26379"

/* With %XX resolved; NULL if that is not well-formed or gives a NUL. */
static char *decode(struct slice s)
{
    CLEANUP(buf_done) struct buf out = buf_make(4096);

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%')
            buf_add_byte(&out, s.p[i]);
        else if (s.n - i < 3 || hex_decode(&out, slice_sub(s, i + 1, i + 3)) < 0)
            return NULL;
        else
            i += 2;
    }
    if (buf_full(&out) || slice_find(buf_slice(&out), 0) >= 0)
        return NULL;
    return slice_dup(buf_slice(&out));
}

/* Splits at the first such byte; false: there is none, and all is in *ret_head. */
static bool split(struct slice s, uint8_t at, struct slice *ret_head, struct slice *ret_tail)
{
    ssize_t i = slice_find(s, at);

    *ret_head = i < 0 ? s : slice_sub(s, 0, (size_t)i);
    *ret_tail = i < 0 ? slice_of(NULL, 0) : slice_skip(s, (size_t)i + 1);
    return i >= 0;
}

static bool parse_login(struct redis_uri *u, struct slice login)
{
    struct slice user, password;

    if (!split(login, ':', &user, &password) || !(u->login.password = decode(password)))
        return false;
    return user.n == 0 || (u->login.user = decode(user));
}

static bool parse_place(struct redis_uri *u, struct slice s)
{
    struct redis_place *place = &u->places[u->places_n];
    struct slice host = s, port = {0};
    uint64_t number;

    if (slice_starts(s, S("["))) {
        if (!split(slice_skip(s, 1), ']', &host, &port))
            return false;
        if (port.n && port.p[0] != ':')
            return false;
        port = slice_skip(port, 1);
    } else {
        split(s, ':', &host, &port);
    }
    if (host.n == 0 || (port.n && !slice_to_u64(port, 65535, &number)))
        return false;
    place->host = decode(host);
    if (!place->host)
        return false;
    place->port = port.n ? slice_dup(port) : NULL; /* the default depends on the options */
    u->places_n++;
    return true;
}

static bool parse_places(struct redis_uri *u, struct slice places)
{
    struct slice head;
    bool more = true;

    while (more) {
        more = split(places, ',', &head, &places);
        if (u->places_n == REDIS_PLACES_MAX || !parse_place(u, head))
            return false;
    }
    return true;
}

static bool parse_option(struct redis_uri *u, struct slice option)
{
    struct {
        struct slice name;
        char **to;
    } const known[] = {
        {S("prefix"), &u->prefix},
        {S("cafile"), u->tls ? &u->cafile : NULL},
        {S("certfile"), u->tls ? &u->certfile : NULL},
        {S("keyfile"), u->tls ? &u->keyfile : NULL},
        {S("sentinel"), &u->master},
        {S("sentinel_user"), &u->sentinel_login.user},
        {S("sentinel_password"), &u->sentinel_login.password},
    };
    struct slice name, value;

    split(option, '=', &name, &value);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (slice_eq(name, known[i].name) && known[i].to && !*known[i].to && value.n)
            return (*known[i].to = decode(value)) != NULL;
    return false;
}

/* Several places are of Sentinels; of servers there is one. */
static bool is_whole(const struct redis_uri *u)
{
    if (!u->certfile != !u->keyfile)
        return false;
    if (!u->master)
        return u->places_n == 1 && !u->sentinel_login.user && !u->sentinel_login.password;
    return u->sentinel_login.password || !u->sentinel_login.user;
}

static bool parse_all(struct redis_uri *u, struct slice rest)
{
    struct slice places, options, head, tail;

    split(rest, '?', &places, &options);
    if (places.n && places.p[places.n - 1] == '/')
        places.n--;
    if (split(places, '@', &head, &tail)) {
        if (!parse_login(u, head))
            return false;
        places = tail;
    }
    if (!parse_places(u, places))
        return false;
    while (options.n) {
        split(options, '&', &head, &options);
        if (!parse_option(u, head))
            return false;
    }
    return is_whole(u);
}

static void fill_defaults(struct redis_uri *u)
{
    for (size_t i = 0; i < u->places_n; i++)
        if (!u->places[i].port)
            u->places[i].port = mem_strdup(u->master ? PORT_SENTINEL : PORT_SERVER);
    if (!u->prefix)
        u->prefix = mem_strdup("eider");
}

int redis_uri_parse(struct slice rest, bool tls, struct redis_uri *ret, struct error *err)
{
    struct redis_uri u = {.tls = tls};

    if (!parse_all(&u, rest)) {
        redis_uri_done(&u);
        /* The URI is not quoted: it may hold a password. */
        return error_set(
            err, ERR_INVALID,
            "a bus over Redis is redis://[[USER]:PASSWORD@]HOST[:PORT][?OPTIONS], with "
            "sentinel=NAME among the options HOST[:PORT],HOST[:PORT],...");
    }
    fill_defaults(&u);
    *ret = u;
    return 0;
}

static void login_done(struct redis_login *login)
{
    if (login->password)
        secret_wipe(login->password, strlen(login->password));
    free(login->user);
    free(login->password);
}

void redis_uri_done(struct redis_uri *u)
{
    for (size_t i = 0; i < u->places_n; i++) {
        free(u->places[i].host);
        free(u->places[i].port);
    }
    login_done(&u->login);
    login_done(&u->sentinel_login);
    free(u->prefix);
    free(u->cafile);
    free(u->certfile);
    free(u->keyfile);
    free(u->master);
    *u = (struct redis_uri){0};
}
