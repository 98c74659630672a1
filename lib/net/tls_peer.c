/* SPDX-License-Identifier: MPL-2.0 */
/* Certificates of clients: asked for, never demanded. A program may show one that is for something
 * else; it is served like one that has none. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/net/tls_peer.h"

/* The handshake goes on; what is wrong stays in SSL_get_verify_result. */
static int go_on(int ok, X509_STORE_CTX *context)
{
    return 1;
}

/* Authorities and, if the file has any, their revocation lists, which then must cover everybody. */
static int load_authorities(SSL_CTX *ctx, const char *file, struct error *err)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    STACK_OF(X509_OBJECT) * objects;
    bool has_lists = false;

    if (!lookup || X509_load_cert_crl_file(lookup, file, X509_FILETYPE_PEM) <= 0) {
        ERR_clear_error();
        return error_set(err, ERR_INVALID, "no certificates of authorities in %s", file);
    }
    objects = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++)
        if (X509_OBJECT_get_type(sk_X509_OBJECT_value(objects, i)) == X509_LU_CRL)
            has_lists = true;
    if (has_lists)
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return 0;
}

int tls_peer_ask(SSL_CTX *ctx, const char *file, struct error *err)
{
    static const unsigned char id[] = "eider";
    STACK_OF(X509_NAME) * names;
    int r = load_authorities(ctx, file, err);

    if (r < 0)
        return r;
    names = SSL_load_client_CA_file(file);
    if (!names)
        return error_set(err, ERR_INVALID, "no certificates of authorities in %s", file);
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, go_on);
    /* Resumed sessions remember the client's certificate, so they must be ours. */
    if (SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) != 1)
        return error_set(err, ERR_INTERNAL, "OpenSSL takes no session id context");
    return 0;
}

/* An address that fits, and has nothing in it that separates addresses or ends texts. */
static bool is_plain(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] <= 0x20 || p[i] >= 0x7f)
            return false;
    return n > 0;
}

static void add_name(const ASN1_IA5STRING *text, char *ret, size_t size)
{
    const uint8_t *p = ASN1_STRING_get0_data(text);
    size_t n = (size_t)ASN1_STRING_length(text), used = strlen(ret);

    if (!is_plain(p, n) || used + n + 2 > size)
        return;
    if (used)
        ret[used++] = '\n';
    memcpy(ret + used, p, n);
    ret[used + n] = '\0';
}

void tls_peer_names(SSL *ssl, char *ret, size_t size)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    GENERAL_NAMES *names;

    *ret = '\0';
    if (!cert || SSL_get_verify_result(ssl) != X509_V_OK)
        return;
    names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_EMAIL)
            add_name(name->d.rfc822Name, ret, size);
    }
    GENERAL_NAMES_free(names);
}
