/* SPDX-License-Identifier: MPL-2.0 */
/* Between login.c and sasl.c: one attempt to log in, whatever the mechanism. */
#pragma once

#include "lib/auth/limiter.h"
#include "lib/auth/login.h"

/* begin, then fail or succeed. */
struct attempt {
    struct auth *auth;
    enum auth_service service;
    struct arena arena;
    struct limiter_who who;
    char remote[64];  /* for the log */
    int64_t start_ms; /* answers are held back from here, so that the work done does not show */
    struct directory_account account; /* as read; or nobody's, with id 0 */
    bool usable;                      /* there, enabled */
    bool main_usable;                 /* and its main password is for this service */
    const char *name;                 /* normalised login, or the text as typed */
};

/* Looks up the name. 0; -ERR_LIMIT not admitted (*ret_not_before set); or the store's errors.
 * Somebody who is not there is no error: `usable` is false. attempt_done in any case. */
int attempt_begin(struct attempt *t, struct auth *auth, enum auth_service service,
                  const struct session_peer *peer, struct slice name, int64_t *ret_not_before,
                  struct error *err) MUST_USE;
/* The same for one who has not said his name: he is counted by his address, and by what he shows.
 * Nobody is looked up. */
int attempt_begin_unnamed(struct attempt *t, struct auth *auth, enum auth_service service,
                          const struct session_peer *peer, struct slice shown,
                          int64_t *ret_not_before, struct error *err) MUST_USE;
/* Looks up an account for an attempt that has begun; as attempt_begin does. */
int attempt_look_up(struct attempt *t, struct slice name, struct error *err) MUST_USE;
/* Is that the name that the attempt began with? */
bool attempt_is_for(struct attempt *t, struct slice name);
/* Counts it; returns -ERR_AUTH. guess: of the password, or NULL. */
int attempt_fail(struct attempt *t, const uint8_t *guess, int64_t *ret_not_before,
                 struct error *err);
void attempt_succeed(struct attempt *t, struct auth_user *ret_user);
void attempt_done(struct attempt *t);

/* Checks a password within an attempt, as auth_login does. */
int attempt_password(struct attempt *t, struct slice password, struct auth_user *ret_user,
                     int64_t *ret_not_before, struct error *err) MUST_USE;

/* The SCRAM verifier of the attempt: its own, or one that looks like it and fits no password. */
const char *attempt_scram(struct attempt *t, enum scram_hash hash);

/* Are verifiers of this sort made here? Else the mechanism is not offered. */
bool auth_has_scram(const struct auth *auth, enum scram_hash hash);
const char *auth_hostname(const struct auth *auth);
struct oauth *auth_oauth(const struct auth *auth); /* NULL: no tokens */
/* Starts libsasl2 once per process. True: it has SCRAM. (sasl.c) */
bool sasl_library_ready(void);
