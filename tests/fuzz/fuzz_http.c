/* SPDX-License-Identifier: MPL-2.0 */
/* Requests on a connection, whole and in two pieces: the same answers. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/http/http.h"
#include "tests/session/drive.h"

static void echo(void *context, const struct http_request *request, struct slice body,
                 struct http_response *response)
{
    buf_add_slice(&response->body, request->target);
    buf_add_slice(&response->body, body);
}

static const struct http_route routes[] = {{"/", HTTP_GET | HTTP_POST, echo}};

static size_t answers(struct slice a, struct slice b)
{
    struct http_settings settings = {.body_max = 1000};
    struct session_peer peer = {0};
    struct session_service *service = http_service_new(&settings, routes, ARRAY_LEN(routes), NULL);
    struct drive d;
    size_t n;

    drive_init(&d, service->open(service, &peer));
    drive_send(&d, a);
    drive_send(&d, b);
    n = d.got.n;
    drive_done(&d);
    http_service_free(service);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice all = slice_of(data, n);

    if (n > 40000)
        return 0;
    /* "100 Continue" is for those who wait only */
    if (slice_search(all, S("xpect")) < 0 &&
        answers(all, slice_of(NULL, 0)) !=
            answers(slice_sub(all, 0, n / 2), slice_skip(all, n / 2)))
        abort();
    return 0;
}
