/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 9112 (HTTP/1.1), RFC 9110 (fields, methods, status codes). */
#include "protocols/http/request.h"

#include "lib/base/mem.h"

static const struct {
    enum http_method method;
    const char *name;
} methods[] = {
    {HTTP_GET, "GET"},       {HTTP_HEAD, "HEAD"},   {HTTP_POST, "POST"},       {HTTP_PUT, "PUT"},
    {HTTP_DELETE, "DELETE"}, {HTTP_PATCH, "PATCH"}, {HTTP_OPTIONS, "OPTIONS"},
};

static const struct {
    unsigned status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {204, "No Content"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

const char *http_reason(unsigned status)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

const char *http_method_name(enum http_method method)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (methods[i].method == method)
            return methods[i].name;
    return "?";
}

size_t http_head_end(struct slice bytes)
{
    size_t from = 0;

    while (from + 1 < bytes.n && bytes.p[from] == '\r' && bytes.p[from + 1] == '\n')
        from += 2;

    ssize_t end = slice_search(slice_skip(bytes, from), S("\r\n\r\n"));

    return end < 0 ? 0 : from + (size_t)end + 4;
}

/* RFC 9110 5.6.2 */
static bool is_token_byte(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_byte(s.p[i]))
            return false;
    return s.n > 0;
}

/* RFC 9110 5.5: visible octets, blanks, and what is not ASCII. */
static bool is_field_value(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool is_target(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '#')
            return false;
    return s.n > 0 && s.p[0] == '/';
}

static struct slice trim_blanks(struct slice s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Takes the next line off; false: a CR or LF that is not part of a CRLF. */
static bool next_line(struct slice *rest, struct slice *ret)
{
    ssize_t end = slice_search(*rest, S("\r\n"));

    if (end < 0)
        return false;
    *ret = slice_sub(*rest, 0, (size_t)end);
    *rest = slice_skip(*rest, (size_t)end + 2);
    return slice_find(*ret, '\r') < 0 && slice_find(*ret, '\n') < 0;
}

static unsigned parse_method(struct slice name, struct http_request *r)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (slice_eq(name, slice_str(methods[i].name))) {
            r->method = methods[i].method;
            return 0;
        }
    }
    return is_token(name) ? 501 : 400;
}

static unsigned parse_version(struct slice version, struct http_request *r)
{
    if (slice_eq(version, S("HTTP/1.1")))
        return 0;
    r->http10 = slice_eq(version, S("HTTP/1.0"));
    if (r->http10)
        return 0;
    return slice_starts(version, S("HTTP/")) ? 505 : 400;
}

static unsigned parse_request_line(struct slice line, struct http_request *r)
{
    ssize_t first = slice_find(line, ' ');
    struct slice rest = first < 0 ? slice_sub(line, 0, 0) : slice_skip(line, (size_t)first + 1);
    ssize_t second = slice_find(rest, ' ');

    if (first < 0 || second < 0)
        return 400;
    r->target = slice_sub(rest, 0, (size_t)second);
    unsigned bad = parse_version(slice_skip(rest, (size_t)second + 1), r);
    if (bad)
        return bad;
    bad = parse_method(slice_sub(line, 0, (size_t)first), r);
    if (bad)
        return bad;
    if (!is_target(r->target))
        return 400;

    ssize_t mark = slice_find(r->target, '?');

    r->path = slice_sub(r->target, 0, mark < 0 ? r->target.n : (size_t)mark);
    r->query = mark < 0 ? slice_sub(r->target, 0, 0) : slice_skip(r->target, (size_t)mark + 1);
    return 0;
}

static unsigned parse_field(struct slice line, struct http_request *r)
{
    ssize_t colon = slice_find(line, ':');

    if (r->n_fields == HTTP_FIELDS_MAX)
        return 431;
    if (colon < 0)
        return 400;

    struct http_field f = {slice_sub(line, 0, (size_t)colon),
                           trim_blanks(slice_skip(line, (size_t)colon + 1))};

    if (!is_token(f.name) || !is_field_value(f.value))
        return 400;
    r->fields[r->n_fields++] = f;
    return 0;
}

const struct slice *http_field(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (slice_ieq(r->fields[i].name, slice_str(name)))
            return &r->fields[i].value;
    return NULL;
}

static size_t count_fields(const struct http_request *r, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_fields; i++)
        n += slice_ieq(r->fields[i].name, slice_str(name));
    return n;
}

/* Is the word among the comma-separated ones of all Connection fields? */
static bool connection_says(const struct http_request *r, struct slice word)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        struct slice rest = r->fields[i].value;

        if (!slice_ieq(r->fields[i].name, S("Connection")))
            continue;
        while (rest.n) {
            ssize_t comma = slice_find(rest, ',');
            struct slice one = slice_sub(rest, 0, comma < 0 ? rest.n : (size_t)comma);

            if (slice_ieq(trim_blanks(one), word))
                return true;
            rest = slice_skip(rest, one.n + 1);
        }
    }
    return false;
}

/* What the fields say of the message itself. */
static unsigned check_framing(struct http_request *r)
{
    const struct slice *length = http_field(r, "Content-Length");
    const struct slice *expect = http_field(r, "Expect");

    /* RFC 9112 3.2: a server MUST respond with 400 to a request that lacks a Host or has two */
    if (count_fields(r, "Host") > 1 || (!r->http10 && !http_field(r, "Host")))
        return 400;
    if (http_field(r, "Transfer-Encoding"))
        return length ? 400 : 411;
    if (count_fields(r, "Content-Length") > 1 ||
        (length && !slice_to_u64(*length, INT64_MAX, &r->length)))
        return 400;
    r->expects = expect && slice_ieq(*expect, S("100-continue"));
    if (expect && !r->expects)
        return 417;
    r->keep_alive =
        r->http10 ? connection_says(r, S("keep-alive")) : !connection_says(r, S("close"));
    return 0;
}

unsigned http_head_parse(struct slice head, struct http_request *ret)
{
    struct slice rest = head, line = {0};
    unsigned bad;

    *ret = (struct http_request){0};
    while (slice_starts(rest, S("\r\n")))
        rest = slice_skip(rest, 2);
    if (!next_line(&rest, &line))
        return 400;
    bad = parse_request_line(line, ret);
    while (!bad) {
        if (!next_line(&rest, &line))
            return 400;
        if (!line.n)
            break;
        bad = parse_field(line, ret); /* a folded line has no token in front of a colon: 400 */
    }
    return bad ? bad : check_framing(ret);
}
