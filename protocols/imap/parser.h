/* SPDX-License-Identifier: MPL-2.0 */
/* parser: bytes of an IMAP connection -> commands. Pure, resumable, bounded.
 *
 * The parser keeps no bytes: what is not consumed stays in the caller's buffer, to which more is
 * appended; how the bytes were cut makes no difference to what comes out. It finds the end of a
 * command line by line, over its literals (RFC 3501 section 4.3, RFC 7888), and reads the arguments
 * (rules.h) when the command is whole. Where a literal has to be allowed first, the part that is
 * there is read, so that a literal that has no place is refused and never asked for.
 *
 *   while (parser_ready(p, in))
 *       switch (parser_next(p, in, find, ctx, arena, &cmd, &used, err)) ... consume `used` bytes
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "protocols/imap/rules.h"

#define PARSER_TAG_MAX 64 /* bytes of a tag that is given back */

enum parser_mode {
    PARSER_COMMAND, /* a command from its tag on */
    PARSER_MORE,    /* the rest of a command behind a streamed literal */
    PARSER_LINE,    /* one raw line: IDLE's DONE, a SASL response */
    PARSER_BYTES,   /* the bytes of a streamed literal */
};

struct parser {
    const struct parse_limits *limits;
    enum parser_mode mode;
    const struct rule *more; /* PARSER_MORE: the rules */
    uint64_t left;           /* PARSER_BYTES: bytes of the literal still to come */
    size_t scanned;          /* bytes at the front of `in` that were looked through */
    size_t line;             /* where in `in` the line being looked through begins */
    bool asked;              /* a "+" was sent for the literal that ends at `scanned` */
    unsigned literals;       /* of this command so far */
    bool skip_line;          /* dropping up to the next line end ... */
    uint64_t skip_bytes;     /* ... or so many bytes first */
    uint8_t tail[24];        /* last bytes of the line that is dropped */
    uint8_t n_tail;
};

enum parser_event {
    PARSER_WAIT,     /* nothing yet (`used` may be >0: dropped) */
    PARSER_CONTINUE, /* send a continuation request, call again */
    PARSER_DONE,     /* a whole command, or the rest of one (PARSER_MORE), or a line */
    PARSER_STREAM,   /* a command up to a literal of cmd.stream bytes; mode is PARSER_BYTES now */
    PARSER_BAD,      /* answer BAD with the sentence; go on */
    PARSER_FATAL,    /* answer BYE with the sentence; nothing sensible can follow */
};

/* A command as it was parsed. Everything is the arena's. */
struct parsed {
    char tag[PARSER_TAG_MAX + 1]; /* "*" if none could be read */
    const void *verb;             /* what find gave */
    struct arg *args;
    size_t n_args;
    struct slice line; /* PARSER_LINE: without its line end; borrowed from `in` */
    uint64_t stream;   /* PARSER_STREAM: size of the literal */
    bool stream_sync;  /* it waits for a continuation request */
};

/* A command's rules by name ("NOOP", "UID FETCH", in upper case), and *ret_verb for parsed.verb.
 * NULL: not known or not possible now; err says which. */
typedef const struct rule *(*parser_find)(void *ctx, struct slice name, const void **ret_verb,
                                          struct error *err);

void parser_init(struct parser *p, const struct parse_limits *limits);
/* Would parser_next do anything with these bytes? Changes nothing. */
bool parser_ready(const struct parser *p, struct slice in);
/* *ret_used bytes at the front of `in` are to be consumed, whatever the event. `ret->tag` is also
 * set for PARSER_BAD. */
enum parser_event parser_next(struct parser *p, struct slice in, parser_find find, void *ctx,
                              struct arena *arena, struct parsed *ret, size_t *ret_used,
                              struct error *err);
/* PARSER_BYTES: takes n bytes off the literal; behind its end the mode is PARSER_MORE. */
void parser_took(struct parser *p, size_t n, const struct rule *more);
/* The command cannot go on: drops what is left of it (rest of a literal if it will come, rest of
 * the line). `coming`: the literal's bytes were asked for or sent unasked. */
void parser_drop(struct parser *p, bool coming);
/* From now on: raw lines, or commands again. */
void parser_set_mode(struct parser *p, enum parser_mode mode);
