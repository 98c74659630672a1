/* SPDX-License-Identifier: MPL-2.0 */
/* reader: the bytes of one command while its arguments are read. Inside args.c and args_values.c.
 *
 * Every read_x reads at the position and returns PARSE_OK with the position behind it, PARSE_NEED
 * or PARSE_STREAM (rules.h), or PARSE_WRONG with a sentence in err. `what` is what a person is told
 * to have been expected.
 */
#pragma once

#include "protocols/imap/rules.h"

struct reader {
    const uint8_t *p;
    size_t n, pos;
    const struct parse_limits *limits;
    struct arena *arena;
    unsigned depth, arguments; /* so far */
    struct error *err;
};

/* The byte at an offset from here; 0 behind the end (0 is never allowed outside literals). */
static inline uint8_t reader_peek(const struct reader *x, size_t at)
{
    return x->pos + at < x->n ? x->p[x->pos + at] : 0;
}

/* Takes the byte if it comes next. */
bool reader_byte(struct reader *x, uint8_t c);
/* Takes the bytes of a class; may be none. Borrowed. */
struct slice reader_span(struct reader *x, bool (*in)(uint8_t c));
/* Takes a number of at most `max`; false, and nothing taken. */
bool reader_digits(struct reader *x, uint64_t max, uint64_t *ret);
/* PARSE_WRONG with "Expected ..." or "Too many ...". */
enum parse_result reader_wrong(struct reader *x, const char *wanted);
enum parse_result reader_over(struct reader *x, const char *what, unsigned limit);

/* Classes of bytes (RFC 3501 section 9). */
bool reader_is_atom_char(uint8_t c);
bool reader_is_astring_char(uint8_t c);
bool reader_is_pattern_char(uint8_t c);
bool reader_is_word_char(uint8_t c); /* names in word tables: "+FLAGS.SILENT", "\Sent" */
bool reader_is_base64_char(uint8_t c);

enum parse_result read_string(struct reader *x, struct slice *ret, const char *what);
enum parse_result read_any_string(struct reader *x, struct slice *ret, bool (*in)(uint8_t c),
                                  const char *what);
enum parse_result read_nstring(struct reader *x, struct slice *ret, const char *what);
/* The same, and a literal8 "~{n}", which may hold NUL. */
enum parse_result read_value(struct reader *x, struct slice *ret, const char *what);
/* A mailbox name or pattern: UTF-8 in arg->text, or arg->malformed. */
enum parse_result read_name(struct reader *x, struct arg *arg, bool (*in)(uint8_t c),
                            const char *what);
enum parse_result read_set(struct reader *x, struct arg *arg, const char *what);
/* Positions in a result: "1:10", or "-1:-10" from its end. */
enum parse_result read_range(struct reader *x, struct arg *arg, const char *what);
enum parse_result read_flags(struct reader *x, struct arg *arg, bool list_only);
enum parse_result read_date(struct reader *x, struct arg *arg, const char *what);
enum parse_result read_date_time(struct reader *x, struct arg *arg, const char *what);
enum parse_result read_section(struct reader *x, struct arg *arg);
enum parse_result read_partial(struct reader *x, struct arg *arg);
/* "{n}" or "{n+}" and its line end. */
enum parse_result read_literal_head(struct reader *x, uint64_t *ret_n);
