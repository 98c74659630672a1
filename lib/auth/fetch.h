/* SPDX-License-Identifier: MPL-2.0 */
/* fetch: one HTTP request of ours to a server that the administrator named, by libcurl.
 *
 * HTTPS with the server's certificate checked; http:// only to this machine (a helper beside us).
 * No redirects, no other protocols, an end to time and size. Blocks: for workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

struct fetch {
    const char *url;
    const char *cafile; /* PEM; NULL or "": the system's authorities */
    const char *form;   /* NULL: GET; else POST of this application/x-www-form-urlencoded */
    const char *user, *password; /* NULL or "": none; else HTTP Basic */
    int64_t timeout_ms;          /* of the whole */
};

/* May it be asked for? "https://...", or "http://" to localhost, 127.0.0.1 or [::1]. */
bool fetch_url_allowed(const char *url);

/* Appends the body, out->max bytes at most. 0; -ERR_UNAVAILABLE no answer, or a status other than
 * 200 (the sentence says which); -ERR_LIMIT the answer is too long. */
int fetch_run(const struct fetch *f, struct buf *out, struct error *err) MUST_USE;

/* As application/x-www-form-urlencoded has it. */
void fetch_add_encoded(struct buf *out, struct slice text);
