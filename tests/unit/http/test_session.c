/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "protocols/http/http.h"
#include "tests/session/drive.h"

static void echo(void *context, const struct http_request *request, struct slice body,
                 struct http_response *response)
{
    buf_printf(&response->body, "%s %.*s <%.*s>", http_method_name(request->method),
               SLICE_FMT(request->path), SLICE_FMT(body));
}

static void endless(void *context, const struct http_request *request, struct slice body,
                    struct http_response *response)
{
    while (!buf_full(&response->body))
        buf_add_str(&response->body, "0123456789abcdef0123456789abcdef");
}

static const struct http_route routes[] = {
    {"/echo", HTTP_GET | HTTP_PUT, echo},
    {"/endless", HTTP_GET, endless},
};

struct talk {
    struct session_service *service;
    struct drive d;
};

static void talk_init(struct talk *t)
{
    struct http_settings settings = {.requests_max = 20, .body_max = 100};
    struct session_peer peer = {.remote = "192.0.2.1"};

    t->service = http_service_new(&settings, routes, ARRAY_LEN(routes), NULL);
    drive_init(&t->d, t->service->open(t->service, &peer));
}

static void talk_done(struct talk *t)
{
    drive_done(&t->d);
    http_service_free(t->service);
}

/* What came, without Date (which is always there). */
static struct slice heard(struct talk *t)
{
    static char text[100000];
    size_t n = 0;
    struct slice rest = buf_slice(&t->d.got);

    while (rest.n) {
        ssize_t lf = slice_find(rest, '\n');
        struct slice line = slice_sub(rest, 0, lf < 0 ? rest.n : (size_t)lf + 1);

        if (!slice_starts(line, S("Date: "))) {
            memcpy(text + n, line.p, line.n);
            n += line.n;
        }
        rest = slice_skip(rest, line.n);
    }
    buf_reset(&t->d.got, 0);
    return slice_of(text, n);
}

#define HEAD(status, length)                                                                       \
    "HTTP/1.1 " status "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " length    \
    "\r\nCache-Control: no-store\r\n"

/* Several requests, and all that is answered; each at every cut into two pieces. */
static const struct {
    const char *sent, *answer;
    bool closed;
} talks[] = {
    {"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", HEAD("200 OK", "12") "\r\nGET /echo <>", false},
    {"GET /echo?q HTTP/1.1\r\nHost: a\r\n\r\nHEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n",
     HEAD("200 OK", "12") "\r\nGET /echo <>" HEAD("200 OK", "13") "\r\n", false},
    {"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
     "GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /echo HTTP/1.1\r\n",
     HEAD("200 OK", "15") "\r\nPUT /echo <abc>" HEAD("404 Not Found",
                                                     "10") "Connection: close\r\n\r\nNot Found\n",
     true},
    {"DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n",
     HEAD("405 Method Not Allowed", "19") "Allow: GET, HEAD, PUT\r\n\r\nMethod Not Allowed\n",
     false},
    {"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n",
     HEAD("413 Content Too Large", "18") "Connection: close\r\n\r\nContent Too Large\n", true},
    {"GET /echo HTTP/1.1\r\n\r\n",
     HEAD("400 Bad Request", "12") "Connection: close\r\n\r\nBad Request\n", true},
    {"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n",
     HEAD("500 Internal Server Error", "22") "Connection: close\r\n\r\nInternal Server Error\n",
     true},
};

Test(session, answers_do_not_depend_on_how_the_bytes_come)
{
    for (size_t i = 0; i < ARRAY_LEN(talks); i++) {
        struct slice all = slice_str(talks[i].sent);

        for (size_t cut = 0; cut <= all.n; cut++) {
            struct talk t;

            talk_init(&t);
            drive_send(&t.d, slice_sub(all, 0, cut));
            drive_send(&t.d, slice_skip(all, cut));
            struct slice got = heard(&t);
            cr_assert(slice_eq(got, slice_str(talks[i].answer)), "%zu at %zu: %.*s", i, cut,
                      SLICE_FMT(got));
            cr_assert(t.d.closed == talks[i].closed, "%zu", i);
            talk_done(&t);
        }
    }
}

Test(session, a_client_that_asks_is_told_to_go_on)
{
    struct talk t;

    talk_init(&t);
    drive_send(&t.d, S("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                       "Expect: 100-continue\r\n\r\n"));
    cr_assert(slice_eq(heard(&t), S("HTTP/1.1 100 Continue\r\n\r\n")));
    drive_send(&t.d, S("x"));
    cr_assert(slice_eq(heard(&t), S(HEAD("200 OK", "13") "\r\nPUT /echo <x>")));
    talk_done(&t);
}

Test(session, I35_a_head_without_end_is_refused)
{
    struct talk t;
    char line[1001];

    memset(line, 'x', sizeof line);
    talk_init(&t);
    drive_send(&t.d, S("GET /echo HTTP/1.1\r\nX: "));
    for (int i = 0; i < 20 && !t.d.closed; i++)
        drive_send(&t.d, slice_of(line, sizeof line));
    cr_assert(slice_starts(heard(&t), S("HTTP/1.1 431 ")));
    cr_assert(t.d.closed);
    talk_done(&t);
}

Test(session, a_connection_ends_after_so_many_requests_and_when_the_server_stops)
{
    struct talk t;
    int n = 0;

    talk_init(&t);
    for (; !t.d.closed; n++)
        drive_send(&t.d, S("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"));
    cr_assert(n == 20);
    talk_done(&t);

    talk_init(&t);
    drive_send(&t.d, S("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"));
    cr_assert(!t.d.closed);
    drive_shutdown(&t.d);
    cr_assert(t.d.closed);
    talk_done(&t);

    talk_init(&t); /* one that has just come is answered first */
    drive_shutdown(&t.d);
    cr_assert(!t.d.closed);
    heard(&t);
    drive_send(&t.d, S("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"));
    cr_assert(slice_starts(heard(&t), S("HTTP/1.1 200 OK")) && t.d.closed);
    talk_done(&t);
}
