/* SPDX-License-Identifier: MPL-2.0 */
/* Messages for the tests of this folder: a few fixed ones, and random ones that are made of what
 * parsers trip over. Deterministic by seed. */
#pragma once

#include "lib/base/buf.h"

struct sample {
    const char *name;
    struct slice message;
};

extern const struct sample samples[];
extern const size_t sample_count;

/* xorshift; state is not 0. */
uint32_t sample_random(uint64_t *state);
/* Appends a message of lines, boundaries, headers and base64 that fit together now and then. */
void sample_message(uint64_t *state, struct buf *out);
/* Appends n octets of base64 of random bytes in lines of the given length. */
void sample_base64(uint64_t *state, struct buf *out, size_t n, size_t line, const char *line_end);
