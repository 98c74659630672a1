/* SPDX-License-Identifier: MPL-2.0 */
/* POP3 command lines (RFC 1939 section 3, RFC 2449 section 4): a pure function over one line. */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

/* RFC 2449 section 4 says 255 octets; SASL responses (RFC 5034 section 4) may have 12288 in base64,
 * ours are SASL_RESPONSE_MAX raw octets at most. */
/* RFC 5034 section 4: a response in base64 has up to 12288 octets; one may stand behind AUTH. */
#define POP3_LINE_MAX 12352
#define POP3_ARGS_MAX 2

struct pop3_line {
    char verb[16];     /* upper case */
    struct slice rest; /* all behind the first blank, as it is: a password may have blanks */
    struct slice args[POP3_ARGS_MAX]; /* of rest, parted by blanks */
    size_t n_args;
    bool more; /* there are more than POP3_ARGS_MAX */
};

/* line: without its line end; what is read from it points into it. -ERR_INVALID: no verb of
 * letters, or NUL or other control bytes anywhere. */
int pop3_line_parse(struct slice line, struct pop3_line *ret) MUST_USE;
