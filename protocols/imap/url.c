/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/url.h"

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "protocols/imap/fetch_part.h"
#include "protocols/imap/reader.h"

#define CHUNK   ((size_t)64 << 10)
#define URL_MAX 4000

/* --- parsing -----------------------------------------------------------------------------------
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

static bool partial(struct slice s, struct imap_url *url)
{
    ssize_t dot = slice_find(s, '.');

    if (dot >= 0 && !number(slice_skip(s, (size_t)dot + 1), 1, &url->count))
        return false;
    return number(slice_sub(s, 0, dot < 0 ? s.n : (size_t)dot), 0, &url->offset);
}

static bool section(struct slice s, const struct parse_limits *limits, struct arena *arena,
                    struct imap_url *url)
{
    CLEANUP(buf_done) struct buf b = buf_make(URL_MAX + 2);
    struct slice decoded;
    struct arg arg = {0};
    struct reader x = {.limits = limits, .arena = arena};

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

    if (n < 2 || rest->p[0] != '/')
        return false;
    if (!decode(slice_sub(*rest, 1, rest->p[n - 1] == '/' ? n - 1 : n), arena, &url->mailbox))
        return false;
    *rest = slice_skip(*rest, n);
    return url->mailbox.n && utf8_valid(url->mailbox);
}

static bool parse(struct slice rest, const struct parse_limits *limits, struct arena *arena,
                  struct imap_url *url)
{
    struct slice value;
    uint64_t n;

    if (rest.n > URL_MAX || !mailbox(&rest, arena, url))
        return false;
    if (parameter(&rest, S(";UIDVALIDITY="), &value)) {
        if (!number(value, 1, &n))
            return false;
        url->uidvalidity = (uint32_t)n;
    }
    if (!parameter(&rest, S(";UID="), &value) || !number(value, 1, &n))
        return false;
    url->uid = (uint32_t)n;
    if (parameter(&rest, S(";SECTION="), &value) && !section(value, limits, arena, url))
        return false;
    if (parameter(&rest, S(";PARTIAL="), &value) && !partial(value, url))
        return false;
    return rest.n == 0;
}

int imap_url_parse(struct slice text, const struct parse_limits *limits, struct arena *arena,
                   struct imap_url *ret, struct error *err)
{
    struct imap_url url = {.count = UINT64_MAX};

    url.section = ARENA_NEW(arena, struct imap_section);
    if (!parse(text, limits, arena, &url))
        return error_set(err, ERR_INVALID, "Not the path of a message of this account");
    *ret = url;
    return 0;
}

/* --- copying -----------------------------------------------------------------------------------
 */

struct copying {
    struct fetch_part part;
    const struct imap_url *url;
    int (*write)(void *ctx, struct slice bytes);
    void *ctx;
};

static int nothing_there(struct error *err)
{
    return error_set(err, ERR_NOTFOUND, "There is no such message or part");
}

static int copy_fields(struct copying *c, struct error *err)
{
    CLEANUP(buf_done) struct buf fields = buf_make(BUF_MAX_DEFAULT);
    int r = fetch_part_fields(&c->part, c->url->section, &fields, err);
    size_t from = (size_t)MIN(c->url->offset, (uint64_t)fields.n);
    size_t n = (size_t)MIN(c->url->count, (uint64_t)(fields.n - from));

    if (r < 0)
        return r;
    return r > 0 ? c->write(c->ctx, slice_sub(buf_slice(&fields), from, from + n))
                 : nothing_there(err);
}

static int copy_range(struct copying *c, struct error *err)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(2 * CHUNK);
    uint64_t offset, len, skip;
    int r = fetch_part_range(&c->part, c->url->section, &offset, &len, err);

    if (r <= 0)
        return r < 0 ? r : nothing_there(err);
    skip = MIN(c->url->offset, len);
    offset += skip;
    len = MIN(len - skip, c->url->count);
    r = len ? fetch_part_content(&c->part, err) : 0;
    while (len && r == 0) {
        size_t n = (size_t)MIN(len, (uint64_t)CHUNK);

        chunk.n = 0;
        r = message_read(c->part.reader, offset, n, &chunk, err);
        if (r == 0)
            r = c->write(c->ctx, buf_slice(&chunk));
        offset += n;
        len -= n;
    }
    return r;
}

static int copy_message(struct imap *im, const struct imap_url *url, uint64_t message,
                        struct copying *c, struct error *err)
{
    struct slice digest;
    struct hold *hold;
    int r = message_digests(im->account, &message, 1, &digest, &hold, err);

    if (r < 0)
        return r;
    r = fetch_part_open(&c->part, im->account, message, digest, err);
    if (r == 0 &&
        (url->section->kind == SECTION_FIELDS || url->section->kind == SECTION_FIELDS_NOT))
        r = copy_fields(c, err);
    else if (r == 0)
        r = copy_range(c, err);
    fetch_part_done(&c->part);
    hold_release(hold);
    return r;
}

static int find_message(struct imap *im, const struct imap_url *url, uint64_t *ret,
                        struct error *err)
{
    const struct mailbox *box;
    struct mailbox *loaded;
    struct message m;
    struct state *st;
    int r = account_refresh(im->account, &st, err);

    if (r < 0)
        return r;
    box = state_mailbox_named(st, url->mailbox);
    if (!box || (url->uidvalidity && url->uidvalidity != box->uidvalidity))
        r = nothing_there(err);
    else
        r = mailbox_load(im->account, st, box->id, url->uid, url->uid, &loaded, err);
    state_unref(st);
    if (r < 0)
        return r;
    if (mailbox_find(loaded, url->uid, &m))
        *ret = m.id;
    else
        r = nothing_there(err);
    mailbox_unref(loaded);
    return r;
}

int imap_url_copy(struct imap *im, const struct imap_url *url,
                  int (*write)(void *ctx, struct slice bytes), void *ctx, struct error *err)
{
    struct copying c = {.url = url, .write = write, .ctx = ctx};
    uint64_t message = 0;
    int r = find_message(im, url, &message, err);

    return r < 0 ? r : copy_message(im, url, message, &c, err);
}
