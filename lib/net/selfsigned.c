/* SPDX-License-Identifier: MPL-2.0 */
/* tls_make_self_signed: a certificate for the first start, until somebody brings a real one. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/base/buf.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/net/tls.h"

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

/* Names with a comma or such would be read as more fields by OpenSSL's little language. */
static bool is_host_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!byte_is_alpha((uint8_t)*p) && !byte_is_digit((uint8_t)*p) && *p != '-' && *p != '.')
            return false;
    return *name != '\0';
}

static bool add_names(X509 *cert, const char *const *names, size_t names_n)
{
    CLEANUP(buf_done) struct buf text = buf_make(16384);

    buf_add_str(&text, "DNS:localhost,IP:127.0.0.1,IP:::1");
    for (size_t i = 0; i < names_n; i++)
        if (is_host_name(names[i]))
            buf_printf(&text, ",DNS:%s", names[i]);
    return !buf_full(&text) && add_extension(cert, NID_subject_alt_name, buf_cstr(&text));
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *const *names, size_t names_n, unsigned days)
{
    uint8_t serial_bytes[16];
    BIGNUM *serial;
    X509_NAME *subject = X509_get_subject_name(cert);
    const char *name = names_n > 0 && is_host_name(names[0]) ? names[0] : "localhost";

    random_bytes(serial_bytes, sizeof serial_bytes);
    serial_bytes[0] &= 0x7f;
    serial = BN_bin2bn(serial_bytes, sizeof serial_bytes, NULL);
    bool fine = serial && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
    BN_free(serial);
    return fine && X509_set_version(cert, X509_VERSION_3) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
           X509_time_adj_ex(X509_getm_notAfter(cert), (int)days, 0, NULL) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
           add_extension(cert, NID_ext_key_usage, "serverAuth") &&
           add_names(cert, names, names_n) && X509_sign(cert, key, EVP_sha256()) > 0;
}

/* A new file, complete on disk or not there; `write` gets the stream. */
static int write_file(const char *path, mode_t mode, X509 *cert, EVP_PKEY *key, struct error *err)
{
    CLEANUP_FREE char *temporary = mem_printf("%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

    if (!f) {
        mem_close_fd(&fd);
        return error_set(err, ERR_NOPERM, "cannot write %s: %m", temporary);
    }
    bool fine = cert ? PEM_write_X509(f, cert) == 1
                     : PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
    fine = fflush(f) == 0 && fsync(fileno(f)) == 0 && fine;
    fine = fclose(f) == 0 && fine;
    if (!fine || rename(temporary, path) != 0) {
        unlink(temporary);
        return error_set(err, ERR_NOPERM, "cannot write %s", path);
    }
    return 0;
}

int tls_make_self_signed(const char *cert_file, const char *key_file, const char *const *names,
                         size_t names_n, unsigned days, struct error *err)
{
    bool has_cert = access(cert_file, F_OK) == 0, has_key = access(key_file, F_OK) == 0;

    if (has_cert && has_key)
        return 1;
    if (has_cert || has_key)
        return error_set(err, ERR_EXISTS, "%s is there but %s is not",
                         has_cert ? cert_file : key_file, has_cert ? key_file : cert_file);

    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    int rc = -ERR_INTERNAL;

    if (!key || !cert || !fill(cert, key, names, names_n, days))
        error_set(err, ERR_INTERNAL, "OpenSSL cannot make a certificate");
    else
        rc = write_file(key_file, 0600, NULL, key, err);
    if (rc == 0)
        rc = write_file(cert_file, 0644, cert, NULL, err);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}
