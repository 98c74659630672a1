/* SPDX-License-Identifier: MPL-2.0 */
/* login: who is it? Name and password against the directory, with everything that makes guessing
 * slow and logging in again cheap.
 *
 * Unknown, disabled and password-less accounts cost the same work and get the same answer as a
 * wrong password. A failure is answered late: the call returns at once with the time before which
 * the answer must not be sent (the session waits for it as its deadline; no worker sleeps).
 * Failures are counted per client address (IPv6: per /64) and per login, in memory, and halve every
 * ten minutes; past AUTH_FREE_FAILURES attempts that come before the last delay is over are refused
 * without a look at the password, unless this client has logged in to this account before.
 *
 * App passwords (app_password.h) are looked at before the main one; both may be for some services
 * only. One that is right, but not for this service, is as wrong as any other.
 *
 * A login that succeeded is remembered for a while under a keyed hash (the key is drawn once per
 * process) of login, password and the version of the account's document, which is read each time:
 * the next one pays no password hash, and a changed password or a disabled account counts at once.
 *
 * Threads: any. The calls block on the store and compute hashes: run them on a worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/auth/connections.h"
#include "lib/auth/directory.h"
#include "lib/auth/password.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/session.h"

struct auth;
struct oauth;
struct oauth_options;

#define AUTH_FREE_FAILURES 5 /* of an address or account, before attempts are refused unseen */

struct auth_options {
    bool plaintext_without_tls;
    struct password_cost cost; /* what unknown users cost; and of new passwords */
    unsigned hash_threads;     /* at once; 0: one per core */
    int64_t cache_ttl_ms;      /* 0: remember no logins */
    unsigned cache_entries;
    int64_t failure_delay_ms;          /* of the first failure; doubles with each further one ... */
    int64_t failure_delay_max_ms;      /* ... up to this */
    const char *hostname;              /* for SASL */
    const struct oauth_options *oauth; /* oauth.h; NULL or without issuers: no tokens */
};

/* Does not own the directory; options are copied. -ERR_INVALID the options for tokens cannot be. */
int auth_new(struct directory *directory, const struct auth_options *options, struct auth **ret,
             struct error *err) MUST_USE;
void auth_free(struct auth *auth);
struct directory *auth_directory(const struct auth *auth);
/* Of all services that log in by it. */
struct connections *auth_connections(const struct auth *auth);

/* Who logged in, and what holds for him. */
struct auth_user {
    uint64_t account;
    char login[ADDRESS_MAX + 1]; /* normalised */
    uint64_t message_size;       /* 0: the server's limit */
    unsigned connections;        /* 0: the server's limit */
    bool admin;                  /* see struct directory_account */
};

/* May this client send a password as it is (LOGIN, PLAIN)? Else IMAP says LOGINDISABLED. */
bool auth_plaintext_allowed(const struct auth *auth, const struct session_peer *peer);

/* 0: *ret_user is who it is. Else *ret_not_before (clock_mono_ms) is when to answer, and
 * -ERR_AUTH wrong, whatever is wrong; -ERR_LIMIT too many failures, not looked at (say "try again
 * later"); -ERR_NOPERM not allowed without TLS; -ERR_UNAVAILABLE store or hash slots.
 * On 0 and on every other error *ret_not_before is 0: answer at once. */
int auth_login(struct auth *auth, enum auth_service service, const struct session_peer *peer,
               struct slice login, struct slice password, struct auth_user *ret_user,
               int64_t *ret_not_before, struct error *err) MUST_USE;

/* What became of attempts. */
enum auth_outcome {
    AUTH_WELCOME,
    AUTH_WRONG,    /* password, proof, token, certificate */
    AUTH_UNKNOWN,  /* no account of that name */
    AUTH_DISABLED, /* the account is */
    AUTH_REFUSED,  /* the account's main password is not for this service */
    AUTH_TOO_MANY, /* failures: not looked at */
    AUTH_NO_TLS,   /* a password as it is, without TLS */
    AUTH_OUTCOMES_
};
/* A word for labels and the log: "wrong". */
const char *auth_outcome_name(enum auth_outcome outcome);
/* Since the start, for /metrics. Each refusal is a line in the log, too: `login_refused`, with the
 * account's login if there is one (who is not there may have typed a password for a name). */
uint64_t auth_count(const struct auth *auth, enum auth_service service, enum auth_outcome outcome);
