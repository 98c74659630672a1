/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/header.h"

#include "lib/mime/scan.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The end of the field that starts at `at`: behind the LF that no blank follows. */
static size_t field_end(struct slice block, size_t at)
{
    const uint8_t *lf;

    while ((lf = memchr(block.p + at, '\n', block.n - at))) {
        at = (size_t)(lf - block.p) + 1;
        if (at >= block.n || !is_blank(block.p[at]))
            return at;
    }
    return block.n;
}

static struct slice without_line_end(struct slice s)
{
    if (s.n > 0 && s.p[s.n - 1] == '\n')
        s.n--;
    if (s.n > 0 && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

/* Blanks behind the colon go, but of a first line that has nothing else only one does: the value
 * " \r\n x" starts with the line end. */
static struct slice skip_initial_blanks(struct slice value)
{
    size_t n = 0;

    while (n < value.n && is_blank(value.p[n]))
        n++;
    if (n > 1 && (n == value.n || value.p[n] == '\n' || value.p[n] == '\r'))
        n = 1;
    return slice_skip(value, n);
}

bool header_next(struct header_reader *r, struct header_field *ret)
{
    struct slice whole, line;
    size_t end, colon, name_end;
    const uint8_t *p, *stop;

    if (r->pos >= r->block.n)
        return false;
    end = field_end(r->block, r->pos);
    whole = slice_sub(r->block, r->pos, end);
    line = without_line_end(whole);
    if (line.n == 0)
        return false;
    *ret = (struct header_field){.raw = whole, .value = line, .offset = r->pos};
    r->pos = end;
    /* the colon must be in the first line */
    stop = memchr(line.p, '\n', line.n);
    p = memchr(line.p, ':', stop ? (size_t)(stop - line.p) : line.n);
    if (!p)
        return true;
    colon = (size_t)(p - line.p);
    for (name_end = colon; name_end > 0 && is_blank(line.p[name_end - 1]);)
        name_end--;
    ret->name = slice_sub(line, 0, name_end);
    ret->value = skip_initial_blanks(slice_skip(line, colon + 1));
    return true;
}

bool header_find(struct slice block, struct slice name, struct header_field *ret)
{
    struct header_reader r = header_reader_of(block);
    struct header_field f;

    while (header_next(&r, &f)) {
        if (slice_ieq(f.name, name)) {
            *ret = f;
            return true;
        }
    }
    return false;
}

static bool needs_unfolding(uint8_t c)
{
    return c == '\r' || c == '\n' || c == '\0';
}

void header_unfold(struct buf *out, struct slice value)
{
    size_t i = 0, from = 0;
    uint8_t next;

    for (; i < value.n; i++) {
        if (!needs_unfolding(value.p[i]))
            continue;
        buf_add(out, value.p + from, i - from);
        from = i + 1;
        next = from < value.n ? value.p[from] : ' ';
        if (value.p[i] == '\0')
            buf_add_str(out, "\xEF\xBF\xBD");
        else if (!is_blank(next) && next != '\r' && next != '\n')
            buf_add_byte(out, ' ');
    }
    if (value.n > from)
        buf_add(out, value.p + from, value.n - from);
}

/* Behind "<": local part, "@", domain, ">". The quotes of a local part go if it is an atom with
 * dots without them (RFC 5256 section 3.3). */
static bool read_msgid(struct scan *s, struct buf *out)
{
    size_t was = out->n, i;
    bool quote = false;

    if (scan_cfws(s) <= 0)
        return false;
    if (*s->p == '"') {
        if (scan_quoted_string(s, out) <= 0)
            return false;
        for (i = was; i < out->n; i++)
            quote |= out->p[i] != '.' && !(scan_class[out->p[i]] & SCAN_ATEXT);
        if (quote || out->n == was) {
            buf_add(out, "\"\"", 2);
            memmove(out->p + was + 1, out->p + was, out->n - was - 2);
            out->p[was] = '"';
        }
    } else if (scan_dot_atom(s, out) <= 0) {
        return false;
    }
    if (*s->p != '@')
        return false;
    buf_add_byte(out, '@');
    return scan_domain(s, out) > 0 && *s->p == '>';
}

bool msgid_next(struct slice value, size_t *pos, struct buf *out)
{
    struct scan s;
    size_t was = out->n, start;
    ssize_t lt;

    while (*pos < value.n) {
        lt = slice_find(slice_skip(value, *pos), '<');
        if (lt < 0)
            break;
        start = *pos + (size_t)lt + 1;
        s = scan_of(slice_skip(value, start));
        if (read_msgid(&s, out)) {
            *pos = (size_t)(s.p - value.p) + 1;
            if (!buf_full(out) && out->n > was)
                return true;
        } else {
            *pos = start;
        }
        out->n = was;
    }
    *pos = value.n;
    return false;
}
