/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/smtp/line.h"

int smtp_line_parse(struct slice line, struct smtp_line *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '\0' || line.p[i] == '\r' || line.p[i] == '\n')
            return -ERR_INVALID;
    while (n < line.n && byte_is_alpha(line.p[n]))
        n++;
    if (n == 0 || (n < line.n && line.p[n] != ' ' && line.p[n] != '\t'))
        return -ERR_INVALID;
    ret->verb = slice_sub(line, 0, n);
    ret->rest = slice_trim(slice_skip(line, n));
    return 0;
}

/* Length of the path with its brackets, quoted strings minded; 0 if there is none. */
static size_t path_length(struct slice s)
{
    bool quoted = false;

    if (!s.n || s.p[0] != '<')
        return 0;
    for (size_t i = 1; i < s.n; i++) {
        if (quoted && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == '>' && !quoted)
            return i + 1;
    }
    return 0;
}

static int parse_params(struct slice rest, struct smtp_path *path)
{
    while ((rest = slice_trim(rest)).n) {
        ssize_t blank = slice_find(rest, ' '), equals;
        struct slice word = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);
        struct smtp_param *param;

        if (path->n_params == SMTP_PARAMS_MAX)
            return -ERR_LIMIT;
        param = &path->params[path->n_params++];
        equals = slice_find(word, '=');
        param->keyword = slice_sub(word, 0, equals < 0 ? word.n : (size_t)equals);
        param->value = equals < 0 ? (struct slice){NULL, 0} : slice_skip(word, (size_t)equals + 1);
        if (!param->keyword.n)
            return -ERR_INVALID;
        rest = slice_skip(rest, word.n);
    }
    return 0;
}

int smtp_path_parse(struct slice rest, struct slice prefix, struct smtp_path *ret)
{
    ssize_t colon;
    size_t n;

    ret->n_params = 0;
    if (!slice_istarts(rest, prefix))
        return -ERR_INVALID;
    /* RFC 5321 3.3 allows no blank here; enough clients send one that refusing helps nobody */
    rest = slice_trim(slice_skip(rest, prefix.n));
    n = path_length(rest);
    if (n < 2)
        return -ERR_INVALID;
    ret->address = slice_sub(rest, 1, n - 1);
    rest = slice_skip(rest, n);
    if (rest.n && rest.p[0] != ' ' && rest.p[0] != '\t')
        return -ERR_INVALID;
    /* a source route must be accepted and SHOULD be ignored (RFC 5321 appendix C) */
    if (ret->address.n && ret->address.p[0] == '@') {
        colon = slice_find(ret->address, ':');
        if (colon < 0)
            return -ERR_INVALID;
        ret->address = slice_skip(ret->address, (size_t)colon + 1);
    }
    return parse_params(rest, ret);
}

int smtp_bdat_parse(struct slice rest, uint64_t *ret_size, bool *ret_last)
{
    ssize_t blank = slice_find(rest, ' ');
    struct slice number = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);
    struct slice last = slice_trim(slice_skip(rest, number.n));

    if (!slice_to_u64(number, INT64_MAX, ret_size))
        return -ERR_INVALID;
    if (last.n && !slice_ieq(last, S("LAST")))
        return -ERR_INVALID;
    *ret_last = last.n > 0;
    return 0;
}

int smtp_burl_parse(struct slice rest, struct slice *ret_url, bool *ret_last)
{
    ssize_t blank = slice_find(rest, ' ');
    struct slice url = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);
    struct slice last = slice_trim(slice_skip(rest, url.n));

    if (!url.n || (last.n && !slice_ieq(last, S("LAST"))))
        return -ERR_INVALID;
    *ret_url = url;
    *ret_last = last.n > 0;
    return 0;
}

struct sink {
    int (*feed)(void *ctx, struct slice bytes);
    void *ctx;
    int result;
};

static void give(struct sink *sink, struct slice bytes)
{
    if (sink->result == 0 && bytes.n)
        sink->result = sink->feed(sink->ctx, bytes);
}

int smtp_dots_feed(struct smtp_dots *d, struct slice in, size_t *ret_read,
                   int (*feed)(void *ctx, struct slice bytes), void *ctx)
{
    struct sink sink = {feed, ctx, 0};
    size_t start = 0, i = 0; /* [start, i) is content not yet given */

    /* What is held back is never more than ".\r", and is given from constants when it turns out to
     * be content after all. */
    while (i < in.n && d->state != DOTS_END && sink.result == 0) {
        uint8_t c = in.p[i];
        const uint8_t *cr;

        switch (d->state) {
        case DOTS_TEXT:
            cr = memchr(in.p + i, '\r', in.n - i);
            i = cr ? (size_t)(cr - in.p) + 1 : in.n;
            d->state = cr ? DOTS_CR : DOTS_TEXT;
            break;
        case DOTS_CR:
            d->state = c == '\n' ? DOTS_LINE_START : c == '\r' ? DOTS_CR : DOTS_TEXT;
            i++;
            break;
        case DOTS_LINE_START:
            if (c != '.') {
                d->state = DOTS_TEXT;
                break;
            }
            give(&sink, slice_sub(in, start, i));
            start = ++i;
            d->state = DOTS_DOT;
            break;
        case DOTS_DOT:
            /* the dot is gone; what follows it is content, unless it is CR LF */
            if (c == '\r')
                start = ++i;
            d->state = c == '\r' ? DOTS_DOT_CR : DOTS_TEXT;
            break;
        case DOTS_DOT_CR:
            if (c == '\n') {
                start = ++i;
                d->state = DOTS_END;
                break;
            }
            give(&sink, S("\r"));
            start = i;
            d->state = DOTS_CR;
            break;
        case DOTS_END:
            break;
        }
    }
    give(&sink, slice_sub(in, start, i));
    *ret_read = i;
    if (sink.result < 0)
        return sink.result;
    return d->state == DOTS_END;
}
