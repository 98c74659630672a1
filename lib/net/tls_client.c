/* SPDX-License-Identifier: MPL-2.0 */
/* The client's side. One SSL_CTX holds the trusted CAs; what is particular to a server (name, TLSA
 * records, how it must prove itself) is put on the SSL before there is a socket. */
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/net/inside.h"

struct tls_client {
    SSL_CTX *ctx;
};

static int load_ca(SSL_CTX *ctx, const char *ca_file, struct error *err)
{
    char reason[120];

    if (!ca_file || !*ca_file) {
        SSL_CTX_set_default_verify_paths(ctx); /* a machine without any trusts nobody */
        ERR_clear_error();
        return 0;
    }
    if (SSL_CTX_load_verify_file(ctx, ca_file) == 1)
        return 0;
    tls_last_error(reason, sizeof reason);
    return error_set(err, ERR_INVALID, "no CA certificates in %s: %s", ca_file, reason);
}

int tls_client_new(const char *ca_file, struct tls_client **ret, struct error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx || SSL_CTX_dane_enable(ctx) <= 0) {
        SSL_CTX_free(ctx);
        return error_set(err, ERR_INVALID, "OpenSSL has no context for a client");
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    int rc = load_ca(ctx, ca_file, err);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *ret = NEW(struct tls_client);
    (*ret)->ctx = ctx;
    return 0;
}

void tls_client_free(struct tls_client *client)
{
    if (client)
        SSL_CTX_free(client->ctx);
    free(client);
}

/* True: at least one record can be used. RFC 7672 3.1.3: PKIX-TA and PKIX-EE are not for SMTP. */
static bool add_tlsa(SSL *ssl, const struct tls_target *target)
{
    bool usable = false;

    if (SSL_dane_enable(ssl, target->name) <= 0)
        return false;
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* RFC 7672 3.1.1 */
    for (size_t i = 0; i < MIN(target->tlsa_n, (size_t)TLS_TLSA_MAX); i++) {
        const struct tls_tlsa *t = &target->tlsa[i];

        if (t->usage == 2 || t->usage == 3)
            usable |=
                SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->matching, t->data, t->data_n) > 0;
    }
    return usable;
}

SSL *tls_client_prepare(struct tls_client *client, const struct tls_target *target)
{
    SSL *ssl = SSL_new(client->ctx);
    bool must = target->verify == TLS_VERIFY_NAME;

    if (!ssl)
        return NULL;
    SSL_set_connect_state(ssl);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (target->only_tls13)
        SSL_set_min_proto_version(ssl, TLS1_3_VERSION);
    if (target->verify == TLS_VERIFY_DANE)
        must = add_tlsa(ssl, target);
    /* SSL_dane_enable has set both already */
    bool ok =
        target->verify == TLS_VERIFY_DANE ||
        (SSL_set_tlsext_host_name(ssl, target->name) == 1 && SSL_set1_host(ssl, target->name) == 1);
    ok = ok && (!target->other_name || SSL_add1_host(ssl, target->other_name) == 1);
    SSL_set_verify(ssl, must ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    ERR_clear_error();
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

void tls_client_fill_peer(SSL *ssl, struct session_peer *peer)
{
    long result = SSL_get_verify_result(ssl);

    peer->tls_verified = result == X509_V_OK && SSL_get0_peer_certificate(ssl);
    if (!peer->tls_verified)
        snprintf(peer->failure, sizeof peer->failure, "%s", X509_verify_cert_error_string(result));
}

void tls_client_failure(SSL *ssl, char *ret, size_t ret_n)
{
    long result = SSL_get_verify_result(ssl);
    char reason[100];

    tls_last_error(reason, sizeof reason);
    if (result != X509_V_OK)
        snprintf(ret, ret_n, "%s", X509_verify_cert_error_string(result));
    else
        snprintf(ret, ret_n, "TLS: %s", reason);
}
