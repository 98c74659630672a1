/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/url.h"

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "protocols/imap/reader.h"

#define SCHEME "imap://"

/* Of what a section holds. */
static const struct parse_limits section_limits = {
    .command = 2 * URL_MAX, .literal = URL_MAX, .nesting = 4, .arguments = 1000, .set = 1000};

/* --- pieces ------------------------------------------------------------------------------------
 */

static int hex_value(uint8_t c)
{
    c = byte_lower(c);
    return byte_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %XX. False: a "%" without two digits, or a NUL. */
static bool decode(struct slice s, struct arena *arena, struct slice *ret)
{
    char *to = arena_alloc(arena, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int high, low;

        if (s.p[i] != '%') {
            to[n++] = (char)s.p[i];
            continue;
        }
        high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
        low = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
        if (high < 0 || low < 0 || !(high | low))
            return false;
        to[n++] = (char)(high << 4 | low);
        i += 2;
    }
    *ret = slice_of(to, n);
    return true;
}

/* A user's name: something, in UTF-8. */
static bool user_name(struct slice s, struct arena *arena, struct slice *ret)
{
    return decode(s, arena, ret) && ret->n && utf8_valid(*ret) && slice_find(*ret, 0) < 0;
}

/* ";NAME=" (behind a "/", which some leave out) and its value up to the next ";" or "/;". */
static bool parameter(struct slice *rest, struct slice name, struct slice *ret)
{
    struct slice s = *rest;
    size_t n = 0;

    if (s.n && s.p[0] == '/')
        s = slice_skip(s, 1);
    if (!slice_istarts(s, name))
        return false;
    s = slice_skip(s, name.n);
    while (n < s.n && s.p[n] != ';')
        n++;
    *rest = slice_skip(s, n);
    if (n && n < s.n && s.p[n - 1] == '/')
        n--; /* the "/" of "/;" */
    *ret = slice_sub(s, 0, n);
    return true;
}

static bool number(struct slice s, uint64_t least, uint64_t *ret)
{
    return slice_to_u64(s, UINT32_MAX, ret) && *ret >= least;
}

/* Takes the byte if it comes next. */
static bool take(struct slice *s, uint8_t c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = slice_skip(*s, 1);
    return true;
}

/* --- the server --------------------------------------------------------------------------------
 */

/* "user;AUTH=...@host:port", up to the path; rest stays at its "/". A user's "@" should be %40, and
 * is taken as it is too: the host is behind the last one. */
static bool server(struct slice *rest, struct arena *arena, struct imap_url *url)
{
    ssize_t end = slice_find(*rest, '/'), at = -1, auth;
    struct slice s = slice_sub(*rest, 0, end < 0 ? 0 : (size_t)end), user;

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '@')
            at = (ssize_t)i;
    url->host = slice_skip(s, (size_t)(at + 1));
    user = slice_sub(s, 0, at < 0 ? 0 : (size_t)at);
    auth = slice_search(user, S(";"));
    if (auth >= 0 && !slice_istarts(slice_skip(user, (size_t)auth), S(";AUTH=")))
        return false;
    user = slice_sub(user, 0, auth < 0 ? user.n : (size_t)auth);
    if (user.n && !user_name(user, arena, &url->user))
        return false;
    *rest = slice_skip(*rest, s.n);
    return url->host.n && (user.n || auth >= 0 || at < 0);
}

/* --- the message and its part ------------------------------------------------------------------
 */

static bool partial(struct slice s, struct imap_url *url)
{
    ssize_t dot = slice_find(s, '.');

    if (dot >= 0 && !number(slice_skip(s, (size_t)dot + 1), 1, &url->count))
        return false;
    return number(slice_sub(s, 0, dot < 0 ? s.n : (size_t)dot), 0, &url->offset);
}

static bool section(struct slice s, struct arena *arena, struct imap_url *url)
{
    CLEANUP(buf_done) struct buf b = buf_make(URL_MAX + 2);
    struct slice decoded;
    struct arg arg = {0};
    struct reader x = {.limits = &section_limits, .arena = arena};

    if (!decode(s, arena, &decoded))
        return false;
    buf_add_byte(&b, '[');
    buf_add_slice(&b, decoded);
    buf_add_byte(&b, ']');
    x.p = b.p;
    x.n = b.n;
    if (read_section(&x, &arg) != PARSE_OK || x.pos != x.n)
        return false;
    url->section = arg.section;
    return true;
}

/* Up to ";UIDVALIDITY=" or "/;UID=". */
static bool mailbox(struct slice *rest, struct arena *arena, struct imap_url *url)
{
    ssize_t end = slice_find(*rest, ';');
    size_t n = end < 0 ? 0 : (size_t)end;
    struct slice name;

    if (n < 2 || rest->p[0] != '/')
        return false;
    if (!decode(slice_sub(*rest, 1, rest->p[n - 1] == '/' ? n - 1 : n), arena, &name) || !name.n ||
        !utf8_valid(name))
        return false;
    url->mailbox = imap_mailbox_name(arena, name);
    *rest = slice_skip(*rest, n);
    return true;
}

static bool message(struct slice *rest, struct arena *arena, struct imap_url *url)
{
    struct slice value;
    uint64_t n;

    if (!mailbox(rest, arena, url))
        return false;
    if (parameter(rest, S(";UIDVALIDITY="), &value)) {
        if (!number(value, 1, &n))
            return false;
        url->uidvalidity = (uint32_t)n;
    }
    if (!parameter(rest, S(";UID="), &value) || !number(value, 1, &n))
        return false;
    url->uid = (uint32_t)n;
    if (parameter(rest, S(";SECTION="), &value) && !section(value, arena, url))
        return false;
    return !parameter(rest, S(";PARTIAL="), &value) || partial(value, url);
}

/* --- the authorization -------------------------------------------------------------------------
 */

static bool digits(struct slice *s, size_t n, int *ret)
{
    uint64_t v;

    if (s->n < n || !slice_to_u64(slice_sub(*s, 0, n), 9999, &v))
        return false;
    *s = slice_skip(*s, n);
    *ret = (int)v;
    return true;
}

/* RFC 3339 section 5.6: a fraction of a second, then "Z" or "+01:30". */
static bool zone(struct slice s, int *ret)
{
    bool west = s.n && s.p[0] == '-';
    int hours, minutes;

    *ret = 0;
    if (s.n == 1)
        return byte_lower(s.p[0]) == 'z';
    if (!take(&s, '+') && !take(&s, '-'))
        return false;
    if (!digits(&s, 2, &hours) || !take(&s, ':') || !digits(&s, 2, &minutes) || s.n || hours > 23 ||
        minutes > 59)
        return false;
    *ret = (west ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static bool fraction(struct slice *s)
{
    size_t n = 0;

    if (!take(s, '.'))
        return true;
    while (n < s->n && byte_is_digit(s->p[n]))
        n++;
    *s = slice_skip(*s, n);
    return n > 0;
}

static bool date_time(struct slice s, int64_t *ret)
{
    struct civil c = {0};

    if (!digits(&s, 4, &c.year) || !take(&s, '-') || !digits(&s, 2, &c.month) || !take(&s, '-') ||
        !digits(&s, 2, &c.day) || !(take(&s, 'T') || take(&s, 't')) || !digits(&s, 2, &c.hour) ||
        !take(&s, ':') || !digits(&s, 2, &c.minute) || !take(&s, ':') || !digits(&s, 2, &c.second))
        return false;
    if (c.second == 60)
        c.second = 59; /* a leap second */
    if (!fraction(&s) || !zone(s, &c.zone) || !civil_valid(&c))
        return false;
    *ret = civil_to_unix(&c);
    return true;
}

static bool access_of(struct slice s, struct arena *arena, struct imap_url *url)
{
    static const struct {
        struct slice word;
        enum url_access access;
        bool user;
    } rows[] = {
        {{(const uint8_t *)"submit+", 7}, URL_SUBMIT, true},
        {{(const uint8_t *)"user+", 5}, URL_USER, true},
        {{(const uint8_t *)"authuser", 8}, URL_AUTHUSER, false},
        {{(const uint8_t *)"anonymous", 9}, URL_ANONYMOUS, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!slice_istarts(s, rows[i].word))
            continue;
        url->access = rows[i].access;
        s = slice_skip(s, rows[i].word.n);
        return rows[i].user ? user_name(s, arena, &url->access_user) : s.n == 0;
    }
    return false;
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (hex_value(s.p[i]) < 0)
            return false;
    return s.n >= 32;
}

static bool is_mechanism(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!byte_is_alpha(s.p[i]) && !byte_is_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '.')
            return false;
    return s.n > 0;
}

/* Behind ";URLAUTH=", to the end: "access", or "access:mechanism:token". */
static bool urlauth(struct slice s, struct slice text, struct arena *arena, struct imap_url *url)
{
    ssize_t colon = slice_find(s, ':'), second;
    struct slice rest;

    if (colon < 0)
        return access_of(s, arena, url);
    rest = slice_skip(s, (size_t)colon + 1);
    second = slice_find(rest, ':');
    if (second < 0)
        return false;
    url->mechanism = slice_sub(rest, 0, (size_t)second);
    url->token = slice_skip(rest, (size_t)second + 1);
    /* RFC 4467 section 6: removal of ":<mech>:<token>" is the only thing that is done to it */
    url->rump = slice_sub(text, 0, text.n - rest.n - 1);
    return is_mechanism(url->mechanism) && is_token(url->token) &&
           access_of(slice_sub(s, 0, (size_t)colon), arena, url);
}

static bool authorization(struct slice rest, struct slice text, struct arena *arena,
                          struct imap_url *url)
{
    struct slice value;

    if (parameter(&rest, S(";EXPIRE="), &value)) {
        url->expires = date_time(value, &url->expiry);
        if (!url->expires)
            return false;
    }
    if (!rest.n)
        return !url->expires;
    if (!slice_istarts(rest, S(";URLAUTH=")))
        return false;
    return urlauth(slice_skip(rest, 9), text, arena, url);
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static bool parse(struct slice text, struct arena *arena, struct imap_url *url)
{
    struct slice rest = text;

    if (text.n > URL_MAX)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < ' ' || text.p[i] == 0x7f)
            return false;
    if (slice_istarts(rest, S(SCHEME))) {
        rest = slice_skip(rest, sizeof SCHEME - 1);
        if (!server(&rest, arena, url))
            return false;
    }
    if (!message(&rest, arena, url))
        return false;
    return url->host.n ? authorization(rest, text, arena, url) : rest.n == 0;
}

int imap_url_parse(struct slice text, struct arena *arena, struct imap_url *ret, struct error *err)
{
    struct imap_url url = {.count = UINT64_MAX, .rump = text};

    url.section = ARENA_NEW(arena, struct imap_section);
    if (!parse(text, arena, &url))
        return error_set(err, ERR_INVALID, "Not the URL of a message here");
    *ret = url;
    return 0;
}
