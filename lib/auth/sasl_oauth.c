/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/sasl_oauth.h"

#include <jansson.h>
#include <stdlib.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define KVSEP 1

static int malformed(struct error *err)
{
    return error_set(err, ERR_INVALID, "the client's message is malformed");
}

/* Cuts at the first `byte`; false if there is none. */
static bool cut(struct slice *rest, uint8_t byte, struct slice *ret)
{
    ssize_t at = slice_find(*rest, byte);

    if (at < 0)
        return false;
    *ret = slice_sub(*rest, 0, (size_t)at);
    *rest = slice_skip(*rest, (size_t)at + 1);
    return true;
}

/* "Bearer" SP token (RFC 6750); the scheme's case does not matter. */
static int read_bearer(struct slice value, struct slice *ret, struct error *err)
{
    if (!slice_istarts(value, S("Bearer ")))
        return malformed(err);
    *ret = slice_trim(slice_skip(value, 7));
    return ret->n ? 0 : malformed(err);
}

/* RFC 5801 section 4: saslname, where "," is "=2C" and "=" is "=3D". */
static int read_saslname(struct slice in, struct arena *a, struct slice *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf out = buf_make(in.n);

    for (size_t i = 0; i < in.n; i++) {
        struct slice rest = slice_skip(in, i);

        if (in.p[i] != '=') {
            buf_add_byte(&out, in.p[i]);
        } else if (slice_starts(rest, S("=2C")) || slice_starts(rest, S("=3D"))) {
            buf_add_byte(&out, in.p[i + 1] == '2' ? ',' : '=');
            i += 2;
        } else {
            return malformed(err);
        }
    }
    if (slice_find(buf_slice(&out), '\0') >= 0 || !utf8_valid(buf_slice(&out)))
        return malformed(err);
    *ret = arena_slice(a, buf_slice(&out));
    return 0;
}

/* gs2-header of RFC 5801: flag "," ["a=" saslname] ",". There is no channel binding to be had. */
static int read_gs2(struct slice *rest, struct arena *a, struct slice *ret_user, struct error *err)
{
    struct slice flag, name;

    if (!cut(rest, ',', &flag) || !cut(rest, ',', &name) ||
        (!slice_eq(flag, S("n")) && !slice_eq(flag, S("y"))))
        return malformed(err);
    if (!name.n)
        return 0;
    if (!slice_starts(name, S("a=")) || name.n == 2)
        return malformed(err);
    return read_saslname(slice_skip(name, 2), a, ret_user, err);
}

/* RFC 7628 section 3.1: key "=" value, one after the other; those that we do not know (host, port,
 * ...) are for others. */
int oauthbearer_parse(struct slice message, struct arena *a, struct oauth_message *ret,
                      struct error *err)
{
    struct oauth_message m = {0};
    struct slice rest = message, pair, key;
    int r = read_gs2(&rest, a, &m.user, err);

    if (r < 0)
        return r;
    if (!cut(&rest, KVSEP, &pair) || pair.n)
        return malformed(err);
    while (cut(&rest, KVSEP, &pair) && pair.n) {
        if (!cut(&pair, '=', &key) || !key.n)
            return malformed(err);
        if (!slice_ieq(key, S("auth")))
            continue;
        if (m.token.n || read_bearer(pair, &m.token, err) < 0)
            return malformed(err);
    }
    /* The last separator stands alone, with nothing behind it. */
    if (pair.n || rest.n)
        return malformed(err);
    *ret = m;
    return 0;
}

/* "user=" user ^A "auth=Bearer " token ^A ^A */
int xoauth2_parse(struct slice message, struct oauth_message *ret, struct error *err)
{
    struct oauth_message m = {0};
    struct slice rest = message, user, auth;

    if (!cut(&rest, KVSEP, &user) || !cut(&rest, KVSEP, &auth) || !slice_eq(rest, S("\1")) ||
        !slice_istarts(user, S("user=")) || !slice_istarts(auth, S("auth=")))
        return malformed(err);
    m.user = slice_skip(user, 5);
    if (!m.user.n || slice_find(m.user, '\0') >= 0 || !utf8_valid(m.user))
        return malformed(err);
    if (read_bearer(slice_skip(auth, 5), &m.token, err) < 0)
        return malformed(err);
    *ret = m;
    return 0;
}

static void add_json(struct buf *out, json_t *object)
{
    CLEANUP_FREE char *text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);

    json_decref(object);
    if (text)
        buf_add_str(out, text);
}

static void add_member(json_t *object, const char *name, const char *value)
{
    if (*value)
        json_object_set_new(object, name, json_string(value));
}

void oauthbearer_refuse(struct buf *out, bool only_scope, const char *scope, const char *issuer)
{
    json_t *object =
        json_pack("{s:s}", "status", only_scope ? "insufficient_scope" : "invalid_token");
    CLEANUP_FREE char *url = mem_printf("%s/.well-known/openid-configuration", issuer);

    add_member(object, "scope", scope);
    add_member(object, "openid-configuration", *issuer ? url : "");
    add_json(out, object);
}

void xoauth2_refuse(struct buf *out, const char *scope)
{
    json_t *object = json_pack("{s:s, s:s}", "status", "401", "schemes", "bearer");

    add_member(object, "scope", scope);
    add_json(out, object);
}
