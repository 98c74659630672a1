/* SPDX-License-Identifier: MPL-2.0 */
/* sasl: the server's side of SASL (RFC 4422) without I/O: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256
 * and SCRAM-SHA-1, each also -PLUS (RFC 7677, 5802; bindings tls-exporter, tls-server-end-point,
 * and tls-unique under TLS 1.2), OAUTHBEARER (RFC 7628), XOAUTH2, and
 * EXTERNAL (RFC 4422 appendix A) for clients with a certificate.
 *
 *   r = sasl_start(auth, service, mechanism, &peer, initial or NULL, &x, &challenge, ...);
 *   while (r == 1) { send challenge; read response; r = sasl_step(x, response, &challenge, ...); }
 *   sasl_free(x);
 *
 * Challenges and responses are raw bytes; base64, line limits and "*" (cancel: just sasl_free) are
 * the protocol's. An exchange exists only while the client authenticates. What SCRAM's server has
 * to say at the end ("v=...") comes as one more challenge, to be answered by an empty response, as
 * protocols without success data (IMAP) need it.
 *
 * Threads: one exchange belongs to one thread at a time; each call may block (store, hashing).
 */
#pragma once

#include "lib/auth/login.h"
#include "lib/base/buf.h"

struct sasl_exchange;

#define SASL_MECHANISMS_MAX 9
/* Raw bytes; a longer one is -ERR_LIMIT. Only tokens may be as long; with base64 they fit into the
 * 12288 octets that RFC 4954 and 5034 ask for. */
#define SASL_RESPONSE_MAX 9216

/* What this client may use now, best first ("SCRAM-SHA-256-PLUS", ...), for CAPABILITY, EHLO and
 * CAPA. Depends on the peer: look again after STARTTLS. Returns how many. */
size_t sasl_mechanisms(const struct auth *auth, const struct session_peer *peer,
                       const char *ret[static SASL_MECHANISMS_MAX]);

/* initial NULL: the client sent none (an empty one is {"", 0}). peer is copied.
 * 1: `challenge` (emptied first) is to be sent, go on with sasl_step; *ret is yours.
 * 0: done; *ret_user is who it is. *ret is NULL, as after an error.
 * -ERR_NOTFOUND no such mechanism, or not for this peer; -ERR_INVALID the client's message is
 * malformed; -ERR_LIMIT it is too long, or too many failures; -ERR_AUTH and the rest as auth_login,
 * with *ret_not_before. */
int sasl_start(struct auth *auth, enum auth_service service, struct slice mechanism,
               const struct session_peer *peer, const struct slice *initial,
               struct sasl_exchange **ret, struct buf *challenge, struct auth_user *ret_user,
               int64_t *ret_not_before, struct error *err) MUST_USE;
/* As above; after 0 or an error only sasl_free may follow. */
int sasl_step(struct sasl_exchange *x, struct slice response, struct buf *challenge,
              struct auth_user *ret_user, int64_t *ret_not_before, struct error *err) MUST_USE;
void sasl_free(struct sasl_exchange *x);
