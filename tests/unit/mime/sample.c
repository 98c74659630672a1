/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/unit/mime/sample.h"

#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define MULTI(body) S("From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" body)

const struct sample samples[] = {
    {"empty", {NULL, 0}},
    {"one CR", S("\r")},
    {"one LF", S("\n")},
    {"only a body", S("\r\nbody\r\n")},
    {"header only", S("From: a@b\r\nSubject: x\r\n")},
    {"header without line end", S("From: a@b\r\nSubject: x")},
    {"plain", S("From: A <a@b>\r\nSubject: x\r\n\r\nhello\r\nworld\r\n")},
    {"two parts", MULTI("pre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\ntwo\r\n"
                        "--b--\r\nepilogue\r\n")},
    {"no end", MULTI("--b\r\n\r\none\r\n--b\r\n\r\ntwo")},
    {"end without line end", MULTI("--b\r\n\r\none\r\n--b--")},
    {"LF", S("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n")},
    {"mixed line ends", MULTI("--b\n\r\none\r\n--b\r\n\ntwo\n--b--\r\n")},
    {"bare CR", MULTI("--b\r\n\r\none\r\r\n--b\r\n\r\r\rtwo\r--b--\r\r\n--b--\r\n")},
    {"no blank line", MULTI("--b\r\nX: y\r\n--b\r\nContent-Type: message/rfc822\r\n--b--\r\n")},
    {"message interrupted",
     MULTI("--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n--b--\r\n")},
    {"prefix",
     MULTI("--b\r\nContent-Type: multipart/x; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n"
           "--b--\r\n")},
    {"dashes", MULTI("-\r\n--\r\n---\r\n-x\r\n--b\r\n\r\n--\r\n-\r\n--x\r\n\r\n--b--\r\n")},
    {"digest", S("Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: "
                 "in\r\n\r\nx\r\n--d--\r\n")},
    {"same boundary",
     MULTI("--b\r\nContent-Type: multipart/x; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n"
           "--b\r\n\r\ntwo\r\n--b--\r\n")},
    {"empty boundary",
     S("Content-Type: multipart/x; boundary=\"\"\r\n\r\n--\r\n\r\none\r\n----\r\n")},
    {"message", S("Content-Type: message/rfc822\r\n\r\nContent-Type: "
                  "message/rfc822\r\n\r\nSubject: x\r\n\r\ny")},
    {"NUL", S("From: a\0b\r\nContent-Type: a/b; c=\0\r\n\r\nx\0y\r\n")},
    {"long candidate",
     MULTI("--b0123456789012345678901234567890123456789012345678901234567890123456789"
           "012345678901234567890123456789\r\n\r\none\r\n--b--\r\n")},
};
const size_t sample_count = ARRAY_LEN(samples);

uint32_t sample_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

void sample_base64(uint64_t *state, struct buf *out, size_t n, size_t line, const char *line_end)
{
    struct buf raw = buf_make(BUF_MAX_DEFAULT), text = buf_make(BUF_MAX_DEFAULT);
    struct slice rest;

    for (size_t i = 0; i < n; i++)
        buf_add_byte(&raw, (uint8_t)sample_random(state));
    base64_encode(&text, buf_slice(&raw));
    for (rest = buf_slice(&text); rest.n > 0; rest = slice_skip(rest, line)) {
        buf_add_slice(out, slice_sub(rest, 0, line));
        buf_add_str(out, line_end);
    }
    buf_done(&raw);
    buf_done(&text);
}

static const char *const pieces[] = {
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    "--",
    "-",
    "--a",
    "--b",
    "--ab",
    "--a--",
    "--b--",
    "--a\r\n",
    "--b\r\n",
    "\r\n--a\r\n",
    "\r\n--b\r\n",
    "\r\n--a--\r\n",
    "\n--b--\n",
    "\r\n--ab--\r\n",
    "x",
    "text of a line",
    " ",
    "\t",
    "Content-Type: multipart/mixed; boundary=a\r\n",
    "Content-Type: multipart/x;\r\n boundary=\"b\"\r\n",
    "Content-Type: multipart/digest; boundary=ab\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/plain; charset=utf-8\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Type: application/x; name*0*=utf-8''%41; name*1=b\r\n",
    "Subject: =?utf-8?q?=C3?= x\r\n",
    "From: A <a@b>, g: c@d;\r\n",
    "To: \"x",
    "Date: Mon, 1 Jan 2024 10:00:00 +0100\r\n",
    "MIME-Version: 1.0\r\n",
    "Content-Disposition: attachment; filename=x\r\n",
    "References: <a@b> <c@d>\r\n",
    "Received: x\r\n",
    "\xC3\xA4",
    "\xFF",
    "=",
    "=41",
    "=\r\n",
};

static void add_large(uint64_t *state, struct buf *out)
{
    static const size_t lengths[] = {76, 64, 60, 75, 4, 1, 997, 5000, 1000000};
    size_t n = 12000 + sample_random(state) % 40000;

    sample_base64(state, out, n, lengths[sample_random(state) % ARRAY_LEN(lengths)],
                  sample_random(state) % 3 ? "\r\n" : "\n");
    if (sample_random(state) % 3 == 0 && out->n > 0)
        out->p[out->n - 1 - sample_random(state) % MIN(out->n, n)] = (uint8_t)sample_random(state);
}

void sample_message(uint64_t *state, struct buf *out)
{
    size_t n = sample_random(state) % 60;

    for (size_t i = 0; i < n; i++) {
        if (sample_random(state) % 97 == 0)
            add_large(state, out);
        else
            buf_add_str(out, pieces[sample_random(state) % ARRAY_LEN(pieces)]);
    }
}
