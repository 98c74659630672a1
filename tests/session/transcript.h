/* SPDX-License-Identifier: MPL-2.0 */
/* transcript: a conversation as text, and its lines matched against what really came.
 *
 *   # a comment
 *   @word rest          a directive: to the runner or to the protocol's world (run.h)
 *   C: text             the client sends the text and CR LF; C2: the same on connection 2
 *   C- text             without CR LF
 *   S: text             the server must send this line next; S2: on connection 2
 *   S* text             ... after any number of others
 *
 * In all texts: ${x:0dff} are bytes in hex, ${repeat:70000:ab}, ${crlf}, ${name} what was caught.
 * In S lines: ${*} anything, ${n} digits, ${name=*} and ${name=n} catch it.
 */
#pragma once

#include "lib/base/buf.h"

enum transcript_kind { STEP_SEND, STEP_EXPECT, STEP_SKIP_TO, STEP_DIRECTIVE };

struct transcript_step {
    enum transcript_kind kind;
    unsigned connection; /* from 1 */
    bool no_line_end;
    unsigned line;     /* in the file */
    struct slice text; /* in the transcript's bytes; directives: all behind the "@" */
};

struct transcript {
    const char *path;
    struct buf bytes;
    struct transcript_step *steps;
    size_t n;
};

/* False, and a line on stderr: not readable, or a line that is none of the above. */
bool transcript_load(struct transcript *t, const char *path);
void transcript_done(struct transcript *t);

#define CATCHES_MAX 32
struct catches {
    struct {
        char name[32];
        char value[200];
    } items[CATCHES_MAX];
    size_t n;
};

/* The text with its ${...} put in; false: a name that was not caught. */
bool transcript_expand(struct slice text, const struct catches *c, struct buf *out);
/* Does the line fit? Catches what the pattern says. */
bool transcript_match(struct slice pattern, struct slice line, struct catches *c);
