/* SPDX-License-Identifier: MPL-2.0 */
/* run: plays transcripts against a protocol's sessions, in many ways of cutting the client's bytes.
 *
 * Each transcript is run whole (what the client sends between two answers arrives at once), byte by
 * byte, and with one cut at every offset of every block; each run in a new world. What the server
 * says must be the same in all.
 *
 * Directives of every protocol:
 *   @open N how       opens connection N; one that is used without it is opened with how = ""
 *   @eof N            the client closes its side
 *   @shutdown N       the daemon drains
 *   @closed N         the server must have closed it
 *   @wait N           (S lines of N wait for other threads by themselves; this only pumps)
 *   @max-steps N n    the session must have needed at most n steps so far
 * All others go to the world.
 */
#pragma once

#include "tests/session/drive.h"
#include "tests/session/transcript.h"

struct run;

struct run_ops {
    void *(*world_new)(void);
    void (*world_free)(void *world);
    struct session *(*open)(void *world, struct slice how);
    /* False: no such directive, or it failed (a line on stderr says why). */
    bool (*directive)(void *world, struct run *run, struct slice word, struct slice rest);
};

/* For directives: connection N, opened if need be; sends a line and takes all that is answered. */
struct drive *run_connection(struct run *run, unsigned n);
/* The answer is in *answer and not matched; valid until the connection is used again. */
void run_quietly(struct run *run, unsigned n, const char *line, struct buf *answer);

/* argv: transcripts. Exit code. */
int run_main(const struct run_ops *ops, int argc, char **argv);
