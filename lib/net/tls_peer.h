/* SPDX-License-Identifier: MPL-2.0 */
/* Certificates of clients. Inside lib/net. */
#pragma once

#include <openssl/ssl.h>
#include <stddef.h>

#include "lib/base/err.h"

/* Servers made of ctx ask their clients for a certificate that one of the authorities in `file`
 * (PEM, revocation lists too) has signed. 0, -ERR_INVALID. */
int tls_peer_ask(SSL_CTX *ctx, const char *file, struct error *err) MUST_USE;

/* After the handshake: the rfc822Names of the client's certificate, if it was shown and is good, as
 * many as fit into `size` bytes, with a \n between them; else "". */
void tls_peer_names(SSL *ssl, char *ret, size_t size);
