/* SPDX-License-Identifier: MPL-2.0 */
/* The session: a head, perhaps a body, an answer; then the next one, until one of both closes.
 *
 * A request that is malformed ends the connection, since nobody knows where the next one begins.
 */
#include "protocols/http/http.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define RESPONSE_MAX ((size_t)16 << 20)
#define TIMEOUT_MS   30000
#define REQUESTS_MAX 1000
#define SHUTDOWN_MS  2000 /* for the first request of a connection when the server stops */

struct http_service {
    struct session_service service; /* first */
    struct http_settings settings;
    const struct http_route *routes;
    size_t n_routes;
    void *context;
};

struct http {
    struct session s; /* first */
    struct http_service *service;
    unsigned requests;
    int64_t deadline_ms;
    bool continued; /* "100 Continue" was sent for the request that is coming in */
    bool shutdown, closing;
};

/* --- answers ---------------------------------------------------------------------------------- */

static void say_head(struct http *h, unsigned status, const char *type, size_t length,
                     bool cacheable)
{
    struct civil c = civil_from_unix(clock_wall_ms() / 1000, 0);

    buf_printf(&h->s.out, "HTTP/1.1 %u %s\r\n", status, http_reason(status));
    buf_printf(&h->s.out, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
               clock_day_names[civil_weekday(&c)], c.day, clock_month_names[c.month - 1], c.year,
               c.hour, c.minute, c.second);
    buf_printf(&h->s.out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, length);
    if (!cacheable)
        buf_add_str(&h->s.out, "Cache-Control: no-store\r\n");
    if (h->closing)
        buf_add_str(&h->s.out, "Connection: close\r\n");
}

static void say_error(struct http *h, unsigned status, const char *more)
{
    size_t length = strlen(http_reason(status)) + 1;

    say_head(h, status, "text/plain; charset=utf-8", length, false);
    buf_printf(&h->s.out, "%s\r\n%s\n", more, http_reason(status));
}

static void fail(struct http *h, unsigned status)
{
    h->closing = true;
    say_error(h, status, "");
}

/* RFC 9110 15.5.6: a 405 names what is allowed. */
static void say_not_allowed(struct http *h, unsigned allowed)
{
    CLEANUP(buf_done) struct buf field = buf_make(200);

    buf_add_str(&field, "Allow: ");
    for (unsigned m = HTTP_GET; m <= HTTP_OPTIONS; m <<= 1)
        if (allowed & m)
            buf_printf(&field, "%s%s", field.n > 7 ? ", " : "", http_method_name(m));
    buf_add_str(&field, "\r\n");
    say_error(h, 405, buf_cstr(&field));
}

/* --- requests --------------------------------------------------------------------------------- */

static void run(struct http *h, const struct http_route *route, const struct http_request *r,
                struct slice body)
{
    CLEANUP(buf_done) struct buf text = buf_make(RESPONSE_MAX);
    struct http_response response = {.status = 200, .type = "text/plain; charset=utf-8"};

    response.body = text;
    route->handle(h->service->context, r, body, &response);
    text = response.body;
    h->closing |= response.close;
    if (buf_full(&text)) {
        log_text(LOG_ERROR_, "http", "the answer to %s is larger than it may be", route->path);
        fail(h, 500);
        return;
    }
    say_head(h, response.status, response.type, text.n, response.cacheable);
    buf_add_str(&h->s.out, "\r\n");
    if (r->method != HTTP_HEAD)
        buf_add_slice(&h->s.out, buf_slice(&text));
}

static void dispatch(struct http *h, const struct http_request *r, struct slice body)
{
    const struct http_service *service = h->service;
    unsigned allowed = 0;

    for (size_t i = 0; i < service->n_routes; i++) {
        const struct http_route *route = &service->routes[i];

        if (!slice_eq(r->path, slice_str(route->path)))
            continue;
        allowed |= route->methods | (route->methods & HTTP_GET ? HTTP_HEAD : 0);
        if (allowed & r->method) {
            run(h, route, r, body);
            return;
        }
    }
    if (allowed)
        say_not_allowed(h, allowed);
    else
        say_error(h, 404, "");
}

static void log_request(const struct http *h, const struct http_request *r, int64_t ms)
{
    struct log_line l;

    log_begin(&l, LOG_DEBUG_, "http");
    log_num(&l, "session", (int64_t)h->s.id);
    log_str(&l, "remote", slice_str(h->s.peer.remote));
    log_str(&l, "method", slice_str(http_method_name(r->method)));
    log_str(&l, "path", r->path);
    log_num(&l, "ms", ms);
    log_end(&l);
}

static size_t head_or_too_much(const struct http *h)
{
    size_t end = http_head_end(buf_slice(&h->s.in));

    return end == 0 && h->s.in.n >= HTTP_HEAD_MAX ? HTTP_HEAD_MAX + 1 : end;
}

/* A request that is there as a whole is answered; true: look for another one. */
static bool step_request(struct http *h)
{
    struct slice in = buf_slice(&h->s.in);
    size_t head = head_or_too_much(h);
    struct http_request r;

    if (!head)
        return false;
    if (head > HTTP_HEAD_MAX) {
        fail(h, 431);
        return false;
    }

    unsigned bad = http_head_parse(slice_sub(in, 0, head), &r);

    if (!bad && r.length > h->service->settings.body_max)
        bad = 413;
    if (bad) {
        fail(h, bad);
        return false;
    }
    if (in.n - head < r.length) {
        if (r.expects && !h->continued && !r.http10)
            buf_add_str(&h->s.out, "HTTP/1.1 100 Continue\r\n\r\n");
        h->continued = true;
        return false;
    }

    int64_t began = clock_mono_ms();

    h->closing = !r.keep_alive || h->shutdown || ++h->requests >= h->service->settings.requests_max;
    dispatch(h, &r, slice_sub(in, head, head + (size_t)r.length));
    log_request(h, &r, clock_mono_ms() - began);
    buf_consume(&h->s.in, head + (size_t)r.length);
    h->continued = false;
    h->deadline_ms = clock_mono_ms() + h->service->settings.timeout_ms;
    return !h->closing;
}

/* --- the session ------------------------------------------------------------------------------ */

static size_t input_max(const struct http *h)
{
    return HTTP_HEAD_MAX + h->service->settings.body_max;
}

static bool has_request(const struct http *h)
{
    size_t head = head_or_too_much(h);
    struct http_request r;

    if (!head || head > HTTP_HEAD_MAX)
        return head > 0;
    return http_head_parse(slice_sub(buf_slice(&h->s.in), 0, head), &r) != 0 ||
           r.length > h->service->settings.body_max || h->s.in.n - head >= r.length ||
           (r.expects && !h->continued);
}

static bool ready(struct session *s)
{
    return has_request((const struct http *)s);
}

/* Whoever has just come is still told that he should not have: his request is on its way. */
static void begin_shutdown(struct http *h)
{
    h->shutdown = true;
    h->deadline_ms = MIN(h->deadline_ms, clock_mono_ms() + SHUTDOWN_MS);
}

static void step(struct session *s, unsigned events)
{
    struct http *h = (struct http *)s;

    if (h->deadline_ms == 0)
        h->deadline_ms = clock_mono_ms() + h->service->settings.timeout_ms;
    if (events & SESSION_SHUTDOWN)
        begin_shutdown(h);
    while (!h->closing && h->s.out.n < SESSION_SLICE && step_request(h))
        ;
    if (!h->closing && !has_request(h)) {
        if (clock_mono_ms() >= h->deadline_ms && h->s.in.n)
            fail(h, 408);
        if (events & SESSION_EOF || (h->shutdown && h->requests) ||
            clock_mono_ms() >= h->deadline_ms)
            h->closing = true;
    }
    s->want = (struct session_want){.input = !h->closing,
                                    .output = !h->closing && has_request(h),
                                    .close = h->closing,
                                    .input_max = input_max(h),
                                    .deadline_ms = h->deadline_ms};
}

static void session_free(struct session *s)
{
    buf_done(&s->in);
    buf_done(&s->out);
    free(s);
}

static const struct session_ops ops = {
    .name = "http", .ready = ready, .step = step, .free = session_free};

static struct session *session_open(struct session_service *service,
                                    const struct session_peer *peer)
{
    struct http *h = NEW(struct http);

    h->service = (struct http_service *)service;
    h->s.ops = &ops;
    h->s.in = buf_make(BUF_MAX_DEFAULT);
    h->s.out = buf_make(BUF_MAX_DEFAULT);
    h->s.peer = *peer;
    h->s.want.input_max = input_max(h);
    return &h->s;
}

struct session_service *http_service_new(const struct http_settings *settings,
                                         const struct http_route *routes, size_t n, void *context)
{
    struct http_service *service = NEW(struct http_service);

    service->settings = *settings;
    if (service->settings.timeout_ms == 0)
        service->settings.timeout_ms = TIMEOUT_MS;
    if (service->settings.requests_max == 0)
        service->settings.requests_max = REQUESTS_MAX;
    service->routes = routes;
    service->n_routes = n;
    service->context = context;
    service->service = (struct session_service){
        .name = "http",
        .refusal =
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        .open = session_open,
        .context = service,
    };
    return &service->service;
}

void http_service_free(struct session_service *service)
{
    free(service);
}
