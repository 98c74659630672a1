/* SPDX-License-Identifier: MPL-2.0 */
/* tls: the server's certificates, and one TLS connection by OpenSSL.
 *
 * `struct tls` holds what is in force now; tls_reload replaces it as a whole while connections that
 * began with the old certificates keep them (reference counts). TLS 1.2 and 1.3 only, forward
 * secrecy and AEAD ciphers only, no renegotiation, no compression. Several certificates are chosen
 * from by the server name that the client asks for; the first one is for all others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "lib/base/err.h"
#include "lib/base/session.h"

struct tls_file_pair {
    const char *cert; /* PEM, the chain behind the leaf */
    const char *key;  /* PEM, without a passphrase; NULL or "": in the same file */
};

struct tls_settings {
    const struct tls_file_pair *pairs; /* at least one; copied */
    size_t pairs_n;
    bool only_tls13;
    const char *ciphers;            /* OpenSSL's list for TLS 1.2; NULL or "": the built-in one */
    const char *ciphersuites;       /* for TLS 1.3; NULL or "": OpenSSL's own */
    const char *client_authorities; /* PEM: clients are asked for a certificate; NULL or "": not */
};

struct tls;
struct tls_set; /* one generation of certificates */

/* 0, -ERR_INVALID (a file is not what it must be, key and certificate do not match; the sentence
 * names the file), -ERR_NOTFOUND (cannot be read). */
int tls_new(const struct tls_settings *settings, struct tls **ret_tls, struct error *err) MUST_USE;
/* The connections must be gone. NULL is fine. */
void tls_free(struct tls *tls);
/* One thread at a time. Reads the files of the new settings (NULL: the same ones again); on an
 * error all stays as it is. Returns as tls_new. */
int tls_reload(struct tls *tls, const struct tls_settings *settings, struct error *err) MUST_USE;

/* Any thread. The generation in force, with a reference for the caller. */
struct tls_set *tls_current(struct tls *tls);
void tls_set_unref(struct tls_set *set); /* NULL is fine */
/* A server's side on a connected, nonblocking socket, ready for SSL_accept. The caller keeps its
 * reference to the set at least as long. NULL when memory fails. */
SSL *tls_set_accept(struct tls_set *set, int fd);

/* ---- the client's side ---- */

enum tls_verify {
    TLS_VERIFY_NONE, /* whoever it is; peer.tls_verified still says what a check would */
    TLS_VERIFY_NAME, /* a certificate of a known CA, for one of the names */
    TLS_VERIFY_DANE, /* by TLSA records (RFC 7672): usages 2 and 3 */
};

#define TLS_TLSA_MAX 32 /* records of one server that are looked at */

struct tls_tlsa { /* RFC 6698 2.1 */
    uint8_t usage, selector, matching;
    const uint8_t *data;
    size_t data_n;
};

struct tls_target {
    enum tls_verify verify;
    const char *name;       /* asked for (SNI), and verified */
    const char *other_name; /* as good as `name` for the check; NULL: none */
    const struct tls_tlsa *tlsa;
    size_t tlsa_n;
    bool only_tls13;
};

/* What all connections as a client share: whom they trust. */
struct tls_client;
/* ca_file: PEM; NULL or "": the system's. 0, -ERR_INVALID (the file). */
int tls_client_new(const char *ca_file, struct tls_client **ret, struct error *err) MUST_USE;
/* What was prepared with it may live on. NULL is fine. */
void tls_client_free(struct tls_client *client);
/* Any thread. A client's side without a socket yet, for net_connect; all is copied. With DANE and
 * no record that can be used, encryption is all there is (RFC 7672 2.2: "unusable"): nobody is
 * verified. NULL when memory fails. */
SSL *tls_client_prepare(struct tls_client *client, const struct tls_target *target);

/* After the handshake: version, cipher, server name, channel bindings; of clients also the
 * addresses of their certificates. */
void tls_fill_peer(SSL *ssl, struct session_peer *peer);
/* OpenSSL's reason for the last failure on this thread, in its words; empties its queue. */
void tls_last_error(char *ret, size_t ret_n);

/* Makes an EC P-256 key and a certificate signed by itself for localhost, 127.0.0.1, ::1 and the
 * `names` (n of them), good for `days`; the key file readable by the owner only. Files that are
 * there are kept: 1 if both were there already, 0 if made, -ERR_EXISTS if there is only one of
 * them, -ERR_NOPERM (cannot be written). */
int tls_make_self_signed(const char *cert_file, const char *key_file, const char *const *names,
                         size_t names_n, unsigned days, struct error *err) MUST_USE;
