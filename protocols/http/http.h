/* SPDX-License-Identifier: MPL-2.0 */
/* HTTP/1.1 (RFC 9110, 9112) as a session (lib/base/session.h): what a node tells of itself.
 *
 *   request.h   the head of a request: a pure, strict parser
 *   session.c   requests one after the other on a connection, answers, limits
 *
 * Who has something to show gives a table of routes. Bodies of requests are read, up to a limit,
 * and handed over; there is no routing but by whole paths, and no TLS of its own (lib/net has it).
 */
#pragma once

#include "lib/base/session.h"
#include "protocols/http/request.h"

struct http_settings {
    int64_t timeout_ms;    /* for a request to come in whole, and between two; 0: 30 s */
    unsigned requests_max; /* on one connection, then it is closed; 0: 1,000 */
    size_t body_max;       /* octets of a request's body; 0: there may be none */
};

/* An answer in the making. */
struct http_response {
    unsigned status;  /* 200 at first */
    const char *type; /* Content-Type; "text/plain; charset=utf-8" at first */
    struct buf body;
    bool close;     /* the connection ends with this answer */
    bool cacheable; /* else "Cache-Control: no-store" */
};

struct http_route {
    const char *path;
    unsigned methods; /* enum http_method; GET answers HEAD too */
    /* Worker thread; may block. What it appends to the body is sent with the status. */
    void (*handle)(void *context, const struct http_request *request, struct slice body,
                   struct http_response *response);
};

/* Settings are copied, routes are not; the service is handed `context` in its handlers. */
struct session_service *http_service_new(const struct http_settings *settings,
                                         const struct http_route *routes, size_t n,
                                         void *context) MUST_USE;
/* When all its sessions are freed. NULL is fine. */
void http_service_free(struct session_service *service);
