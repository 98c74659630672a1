/* SPDX-License-Identifier: MPL-2.0 */
/* The head of an HTTP/1.1 request (RFC 9112): a pure, strict parser.
 *
 * Behind a proxy, a request that two parsers read in two ways is a request that is smuggled past
 * one of them. So what RFC 9112 lets a server repair is refused here: bare LF, folded lines, blanks
 * around a field's name or before its colon, a Host that is missing or doubled, more than one
 * length, any Transfer-Encoding (nothing here takes bodies of unknown length).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define HTTP_HEAD_MAX   ((size_t)16 << 10) /* octets of a head; more is 431 */
#define HTTP_FIELDS_MAX 100

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_DELETE = 16,
    HTTP_PATCH = 32,
    HTTP_OPTIONS = 64,
};

struct http_field {
    struct slice name, value; /* value without blanks around it */
};

/* Slices point into the head. */
struct http_request {
    enum http_method method;
    struct slice target; /* as sent: path and query, in origin form */
    struct slice path;   /* as sent: percent escapes are not decoded */
    struct slice query;  /* behind "?", or empty */
    bool http10;         /* HTTP/1.0: the connection is closed unless the client asks otherwise */
    bool keep_alive;     /* the connection may stay open */
    uint64_t length;     /* octets of the body that follows */
    bool expects;        /* "Expect: 100-continue" */
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t n_fields;
};

/* Where a head ends in what has come so far: the octets up to and with the empty line; 0: not
 * whole yet. Empty lines in front of the request line belong to it (RFC 9112 2.2). */
size_t http_head_end(struct slice bytes);
/* A whole head. 0, or the status to answer with before closing: 400, 411, 417, 431, 501, 505. */
unsigned http_head_parse(struct slice head, struct http_request *ret) MUST_USE;
/* The value of a field, by name without regard to case; NULL: not there. */
const struct slice *http_field(const struct http_request *r, const char *name);
/* "Not Found" of 404. */
const char *http_reason(unsigned status);
const char *http_method_name(enum http_method method);
