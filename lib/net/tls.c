/* SPDX-License-Identifier: MPL-2.0 */
/* A `tls_set` is one reading of all files, one SSL_CTX a pair. Connections hold a reference to the
 * set they began with, so a reload only exchanges the pointer in `tls`. The name asked for is
 * looked up among the certificates during the handshake only; there is no renegotiation, so later
 * nothing reaches back into the set.
 */
#include "lib/net/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/net/inside.h"
#include "lib/net/tls_peer.h"

/* Forward secrecy and AEAD only; what Mozilla calls intermediate, without DHE. */
#define CIPHERS_TLS12                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct tls_set {
    _Atomic unsigned refs;
    size_t n;
    SSL_CTX *contexts[]; /* the first is the default */
};

struct tls {
    pthread_mutex_t lock; /* `current` */
    struct tls_set *current;
    struct tls_settings settings; /* strings owned */
};

void tls_last_error(char *ret, size_t ret_n)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    snprintf(ret, ret_n, "%s", reason ? reason : code ? "unknown error" : "no reason given");
    ERR_clear_error();
}

static int fail(struct error *err, const char *what, const char *file)
{
    char reason[120];

    tls_last_error(reason, sizeof reason);
    return error_set(err, ERR_INVALID, "%s %s: %s", what, file, reason);
}

/* SNI: the first certificate that is good for the name; else the default one goes on, since a
 * client that insists checks for itself and others (by address) would be locked out. */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
    struct tls_set *set = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    for (size_t i = 0; name && i < set->n; i++) {
        if (X509_check_host(SSL_CTX_get0_certificate(set->contexts[i]), name, 0, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, set->contexts[i]);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return name ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static int set_policy(SSL_CTX *ctx, const struct tls_settings *settings, struct error *err)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets need no memory here */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_min_proto_version(ctx, settings->only_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (SSL_CTX_set_cipher_list(ctx, settings->ciphers ? settings->ciphers : CIPHERS_TLS12) != 1)
        return fail(err, "TLS 1.2 ciphers", settings->ciphers);
    if (settings->ciphersuites && SSL_CTX_set_ciphersuites(ctx, settings->ciphersuites) != 1)
        return fail(err, "TLS 1.3 ciphersuites", settings->ciphersuites);
    return settings->client_authorities ? tls_peer_ask(ctx, settings->client_authorities, err) : 0;
}

static int load_pair(SSL_CTX *ctx, const struct tls_file_pair *pair, struct error *err)
{
    const char *key = pair->key ? pair->key : pair->cert;
    const char *files[] = {pair->cert, key};

    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(files[i], "re");

        if (!f)
            return error_set(err, ERR_NOTFOUND, "cannot read %s: %m", files[i]);
        fclose(f);
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, pair->cert) != 1)
        return fail(err, "no certificate in", pair->cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return fail(err, "no matching key in", key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fail(err, "the key does not belong to the certificate:", key);
    return 0;
}

/* A key with a passphrase must not make a daemon ask its terminal. */
static int no_passphrase(char *ret, int size, int rwflag, void *arg)
{
    return -1;
}

static int new_context(const struct tls_settings *settings, const struct tls_file_pair *pair,
                       struct tls_set *set, struct error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (!ctx)
        return fail(err, "OpenSSL", "has no context");
    set->contexts[set->n++] = ctx;
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    int rc = set_policy(ctx, settings, err);
    if (rc < 0)
        return rc;
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(ctx, set);
    return load_pair(ctx, pair, err);
}

static int load_set(const struct tls_settings *settings, struct tls_set **ret_set,
                    struct error *err)
{
    size_t n = settings->pairs_n;
    struct tls_set *set = mem_zalloc(sizeof *set + n * sizeof set->contexts[0]);

    set->refs = 1;
    for (size_t i = 0; i < n; i++) {
        int rc = new_context(settings, &settings->pairs[i], set, err);

        if (rc < 0) {
            tls_set_unref(set);
            return rc;
        }
    }
    *ret_set = set;
    return 0;
}

static char *text_or_null(const char *s)
{
    return s && *s ? mem_strdup(s) : NULL;
}

static struct tls_settings copy_settings(const struct tls_settings *from)
{
    struct tls_settings to = *from;
    struct tls_file_pair *pairs = NEW_ARRAY(struct tls_file_pair, from->pairs_n);

    to.ciphers = text_or_null(from->ciphers);
    to.ciphersuites = text_or_null(from->ciphersuites);
    to.client_authorities = text_or_null(from->client_authorities);
    for (size_t i = 0; i < from->pairs_n; i++) {
        pairs[i].cert = mem_strdup(from->pairs[i].cert);
        pairs[i].key = text_or_null(from->pairs[i].key);
    }
    to.pairs = pairs;
    return to;
}

static void free_settings(const struct tls_settings *settings)
{
    for (size_t i = 0; i < settings->pairs_n; i++) {
        free((char *)settings->pairs[i].cert);
        free((char *)settings->pairs[i].key);
    }
    free((struct tls_file_pair *)settings->pairs);
    free((char *)settings->ciphers);
    free((char *)settings->ciphersuites);
    free((char *)settings->client_authorities);
}

int tls_new(const struct tls_settings *settings, struct tls **ret_tls, struct error *err)
{
    if (settings->pairs_n == 0)
        return error_set(err, ERR_INVALID, "TLS needs at least one certificate");

    struct tls *tls = NEW(struct tls);

    pthread_mutex_init(&tls->lock, NULL);
    tls->settings = copy_settings(settings);
    int rc = load_set(&tls->settings, &tls->current, err);
    if (rc < 0)
        tls_free(tls);
    else
        *ret_tls = tls;
    return rc;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    tls_set_unref(tls->current);
    free_settings(&tls->settings);
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}

int tls_reload(struct tls *tls, const struct tls_settings *settings, struct error *err)
{
    struct tls_settings copy = copy_settings(settings ? settings : &tls->settings);
    struct tls_set *fresh;
    int rc = copy.pairs_n > 0 ? load_set(&copy, &fresh, err)
                              : error_set(err, ERR_INVALID, "TLS needs at least one certificate");

    if (rc < 0) {
        free_settings(&copy);
        return rc;
    }
    free_settings(&tls->settings);
    tls->settings = copy;
    pthread_mutex_lock(&tls->lock);
    struct tls_set *old = tls->current;
    tls->current = fresh;
    pthread_mutex_unlock(&tls->lock);
    tls_set_unref(old);
    return 0;
}

struct tls_set *tls_current(struct tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    struct tls_set *set = tls->current;
    atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&tls->lock);
    return set;
}

void tls_set_unref(struct tls_set *set)
{
    if (!set || atomic_fetch_sub(&set->refs, 1) != 1)
        return;
    for (size_t i = 0; i < set->n; i++)
        SSL_CTX_free(set->contexts[i]);
    free(set);
}

SSL *tls_set_accept(struct tls_set *set, int fd)
{
    SSL *ssl = SSL_new(set->contexts[0]);

    if (ssl && SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    if (ssl)
        SSL_set_accept_state(ssl);
    return ssl;
}

/* RFC 5929, 4.1: the hash of the certificate's own signature, but SHA-256 in place of MD5 and
 * SHA-1; undefined for signatures without one (Ed25519), so none is given. */
static void fill_end_point(SSL *ssl, struct session_peer *peer)
{
    X509 *cert = SSL_is_server(ssl) ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
    int md_nid = NID_undef;
    unsigned n = 0;

    peer->cb_end_point_n = 0;
    if (!cert || !OBJ_find_sigid_algs(X509_get_signature_nid(cert), &md_nid, NULL))
        return;
    if (md_nid == NID_md5 || md_nid == NID_sha1)
        md_nid = NID_sha256;

    const EVP_MD *md = md_nid == NID_undef ? NULL : EVP_get_digestbynid(md_nid);

    if (md && (size_t)EVP_MD_get_size(md) <= sizeof peer->cb_end_point &&
        X509_digest(cert, md, peer->cb_end_point, &n) == 1)
        peer->cb_end_point_n = (uint8_t)n;
}

/* RFC 5929, 3.1: "the first TLS Finished message sent [...] in the most recent TLS handshake": the
 * client's, or, where a session is resumed, ours. Without the extended master secret somebody
 * between two connections can make it the same on both (RFC 7627), and TLS 1.3 has none (RFC 9266).
 */
static void fill_unique(SSL *ssl, struct session_peer *peer)
{
    size_t n;

    peer->cb_unique_n = 0;
    if (SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) != 1)
        return;
    n = SSL_session_reused(ssl)
            ? SSL_get_finished(ssl, peer->cb_unique, sizeof peer->cb_unique)
            : SSL_get_peer_finished(ssl, peer->cb_unique, sizeof peer->cb_unique);
    if (n <= sizeof peer->cb_unique)
        peer->cb_unique_n = (uint8_t)n;
}

void tls_fill_peer(SSL *ssl, struct session_peer *peer)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    peer->tls = true;
    snprintf(peer->tls_version, sizeof peer->tls_version, "%s", SSL_get_version(ssl));
    snprintf(peer->tls_cipher, sizeof peer->tls_cipher, "%s", SSL_get_cipher_name(ssl));
    snprintf(peer->tls_sni, sizeof peer->tls_sni, "%s", name ? name : "");
    /* RFC 9266, 3: unique in TLS 1.2 only with the extended master secret */
    peer->has_cb_exporter =
        (SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1) &&
        SSL_export_keying_material(ssl, peer->cb_exporter, sizeof peer->cb_exporter, label,
                                   sizeof label - 1, NULL, 0, 0) == 1;
    fill_end_point(ssl, peer);
    fill_unique(ssl, peer);
    if (SSL_is_server(ssl))
        tls_peer_names(ssl, peer->tls_client, sizeof peer->tls_client);
    else
        tls_client_fill_peer(ssl, peer);
    ERR_clear_error();
}
