/* SPDX-License-Identifier: MPL-2.0 */
/* talk: conversations with IMAP sessions of one account, for tests that quote an RFC.
 *
 *   struct talk *t = talk_new();
 *   talk_login(t, 1);
 *   talk_is(t, 1, "a LIST \"\" IN%", "* LIST (${*}) \"/\" \"INBOX\"\n"
 *                                    "a OK ${*}");
 *
 * Connections have numbers from 1 and are opened when they are first used. Answers are matched line
 * by line with the patterns of transcripts (tests/session/transcript.h); a test fails with both
 * texts where they differ.
 */
#pragma once

#include "tests/session/imap_world.h"
#include "tests/session/transcript.h"

#define TALK_CONNECTIONS 9

struct talk {
    struct imap_world *world;
    struct drive *connections[TALK_CONNECTIONS + 1];
    struct buf got;
    struct catches catches; /* of all lines so far */
};

struct talk *talk_new(void);
void talk_free(struct talk *t);
/* Logs joe in on connection n. */
void talk_login(struct talk *t, unsigned n);
/* Sends a line (CR LF is put behind it); all that is answered, valid until the next call. */
const char *talk(struct talk *t, unsigned n, const char *line);
/* The answer must be these lines, parted by "\n". */
void talk_is(struct talk *t, unsigned n, const char *line, const char *expected);
/* One line of the answer must match. */
void talk_has(struct talk *t, unsigned n, const char *line, const char *expected);
/* No line may match. */
void talk_lacks(struct talk *t, unsigned n, const char *line, const char *pattern);
/* Has the server closed the connection? */
bool talk_closed(struct talk *t, unsigned n);
/* How many steps connection n has taken. */
size_t talk_steps(struct talk *t, unsigned n);
