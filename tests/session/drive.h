/* SPDX-License-Identifier: MPL-2.0 */
/* drive: a pump without sockets: does what session.h asks of one, on the calling thread. */
#pragma once

#include <stdatomic.h>

#include "lib/base/session.h"

struct drive {
    struct session *s; /* freed by drive_done */
    struct buf unsent; /* client bytes that the session does not take yet */
    struct buf got;    /* what the server sent and nobody has read */
    unsigned events;
    atomic_bool woken;
    bool eof, closed;
    size_t steps;
    int64_t longest_us; /* of the steps; may be set to 0 */
};

/* Runs the first step (the greeting). */
void drive_init(struct drive *d, struct session *s);
void drive_done(struct drive *d);
/* The client sends; the session works until it waits. */
void drive_send(struct drive *d, struct slice bytes);
/* Works until the session waits for something that is not there. */
void drive_pump(struct drive *d);
/* The client ends its side; the daemon drains. */
void drive_eof(struct drive *d);
void drive_shutdown(struct drive *d);
