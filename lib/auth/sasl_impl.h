/* SPDX-License-Identifier: MPL-2.0 */
/* Between the files of sasl: an exchange, and the steps that need nothing of libsasl2. */
#pragma once

#include <sasl/sasl.h>

#include "lib/auth/login_impl.h"
#include "lib/auth/sasl.h"

/* Best first: the order in which they are offered. */
enum mechanism {
    EXTERNAL,
    SCRAM_SHA_256_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_1,
    OAUTHBEARER,
    XOAUTH2,
    PLAIN,
    LOGIN,
    MECHANISMS
};

enum sasl_state {
    WANTS_FIRST,    /* the client's first message has not come */
    WANTS_PASSWORD, /* LOGIN */
    WANTS_FINAL,    /* SCRAM: the proof */
    WANTS_EMPTY,    /* SCRAM: the answer to the server's signature */
    WANTS_ANYTHING, /* OAUTHBEARER, XOAUTH2: the answer to our refusal */
    ENDED,
};

struct sasl_exchange {
    struct auth *auth;
    enum auth_service service;
    struct session_peer peer;
    enum mechanism mechanism;
    enum sasl_state state;
    sasl_conn_t *conn;
    sasl_callback_t callbacks[4];
    sasl_channel_binding_t binding; /* points into peer */
    struct attempt attempt;
    bool begun;               /* attempt_begin was called */
    bool looked;              /* ... and has found out who it is */
    int verdict;              /* of the callbacks: 1 none yet, 0 fine, -ERR_x */
    int64_t not_before;       /* with the verdict */
    int64_t final_not_before; /* with the answer to WANTS_ANYTHING */
    struct auth_user user;
    struct error error;
};

/* The exchange is over; gives `result` back. */
int sasl_ended(struct sasl_exchange *x, int result);
/* -ERR_INVALID for what is longer than any login. */
int sasl_refuse_long_names(struct slice names, struct error *err) MUST_USE;

/* ---- EXTERNAL (sasl_external.c) ---- */
int sasl_external_first(struct sasl_exchange *x, struct slice wanted, struct buf *challenge,
                        struct error *err) MUST_USE;

/* ---- OAUTHBEARER, XOAUTH2 (sasl_bearer.c) ---- */
int sasl_oauth_first(struct sasl_exchange *x, struct slice message, struct buf *challenge,
                     struct error *err) MUST_USE;
/* The client's answer to the refusal. */
int sasl_oauth_end(struct sasl_exchange *x, struct error *err) MUST_USE;
