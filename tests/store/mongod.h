/* SPDX-License-Identifier: MPL-2.0 */
/* A mongod for tests: a replica set of one member on a free port of 127.0.0.1, data under /tmp,
 * gone with the process that started it. Not for several threads at once. */
#pragma once

#include <sys/types.h>

#include "lib/base/err.h"

struct mongod {
    pid_t pid; /* 0: not running */
    int port;
    int frozen;
    char program[512];
    char dir[64];
    char uri[128]; /* mongodb://127.0.0.1:PORT/eider_test */
};

/* Starts it and waits until it is primary. `replica_set` false: a standalone server, which a store
 * must refuse. 0, -ERR_NOTFOUND (there is no mongod to be had: tools/mongod), -ERR_UNAVAILABLE. */
int mongod_start(struct mongod *m, int replica_set, struct error *err) MUST_USE;
/* Three of them as one replica set whose members call an election after 2 s. All have the same uri,
 * which names the three. Waits until one of them is primary. */
int mongod_start_three(struct mongod set[static 3], struct error *err) MUST_USE;
/* Which of them takes writes now; -1: none. A frozen one is not asked. */
int mongod_primary(struct mongod set[static 3]);
/* kill -9, as a power cut would; the data stays. */
void mongod_kill(struct mongod *m);
/* After mongod_kill: the same data on the same port. Returns when it is primary again. */
int mongod_restart(struct mongod *m, struct error *err) MUST_USE;
/* Likewise, but of a set of three: does not wait. */
void mongod_relaunch(struct mongod *m);
void mongod_freeze(struct mongod *m); /* SIGSTOP */
void mongod_thaw(struct mongod *m);   /* SIGCONT */
/* Ends it and removes its data. Fine on a zeroed or stopped one. */
void mongod_stop(struct mongod *m);
