/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "protocols/http/request.h"

/* 0: well-formed. What a lenient parser might repair is refused (RFC 9112 11.2). */
static const struct {
    const char *head;
    unsigned status;
} heads[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"GET /x?y=1 HTTP/1.0\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost:a\r\nX:\t b \r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400},
    {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 505},
    {"GET /\r\nHost: a\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
    {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"\r\n\r\n", 400},
};

Test(request, what_is_not_plain_is_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct http_request r;
        unsigned status = http_head_parse(slice_str(heads[i].head), &r);

        cr_assert(status == heads[i].status, "%s: %u", heads[i].head, status);
    }
}

Test(request, a_head_ends_at_the_first_empty_line_behind_the_request_line)
{
    struct slice s = S("\r\n\r\nGET / HTTP/1.0\r\nA: b\r\n\r\nrest");

    cr_assert(http_head_end(s) == s.n - 4);
    for (size_t n = 0; n < s.n - 4; n++)
        cr_assert(http_head_end(slice_sub(s, 0, n)) == 0, "%zu", n);
}

Test(request, path_query_and_fields)
{
    struct slice head = S("PUT /a/b?c=d?e HTTP/1.1\r\nHOST: x\r\nContent-length: 12\r\n\r\n");
    struct http_request r;

    cr_assert(http_head_parse(head, &r) == 0);
    cr_assert(r.method == HTTP_PUT && r.length == 12 && r.keep_alive && !r.http10);
    cr_assert(slice_eq(r.path, S("/a/b")) && slice_eq(r.query, S("c=d?e")));
    cr_assert(slice_eq(*http_field(&r, "host"), S("x")));
    cr_assert(!http_field(&r, "cookie"));
}

/* RFC 9112 9.3 */
static const struct {
    const char *head;
    bool keep;
} connections[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x , CLOSE\r\n\r\n", false},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", false},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true},
    {"GET / HTTP/1.0\r\n\r\n", false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
};

Test(request, who_keeps_the_connection)
{
    for (size_t i = 0; i < ARRAY_LEN(connections); i++) {
        struct http_request r;

        cr_assert(http_head_parse(slice_str(connections[i].head), &r) == 0);
        cr_assert(r.keep_alive == connections[i].keep, "%s", connections[i].head);
    }
}

Test(request, I35_fields_are_counted)
{
    CLEANUP(buf_done) struct buf head = buf_make(100000);
    struct http_request r;

    buf_add_str(&head, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        buf_add_str(&head, "X: y\r\n");
    buf_add_str(&head, "\r\n");
    cr_assert(http_head_parse(buf_slice(&head), &r) == 431);
}
