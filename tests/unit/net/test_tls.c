/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/x509v3.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/unit/net/line.h"

struct files {
    char folder[32];
    char cert[3][64], key[3][64];
};

static void make_files(struct files *f)
{
    static const char *const names[3][1] = {{"mail.example.org"}, {"other.example.net"}, {"c"}};

    log_set_level(LOG_ERROR_);
    strcpy(f->folder, "/tmp/eider-tls-XXXXXX");
    cr_assert(mkdtemp(f->folder));
    for (int i = 0; i < 3; i++) {
        snprintf(f->cert[i], sizeof f->cert[i], "%s/cert%d.pem", f->folder, i);
        snprintf(f->key[i], sizeof f->key[i], "%s/key%d.pem", f->folder, i);
        int rc = tls_make_self_signed(f->cert[i], f->key[i], names[i], 1, 30, NULL);
        cr_assert_eq(rc, 0);
    }
}

static void remove_files(const struct files *f)
{
    CLEANUP_FREE char *command = mem_printf("rm -rf %s", f->folder);

    cr_assert_eq(system(command), 0);
}

static void copy_file(const char *from, const char *to)
{
    CLEANUP_FREE char *command = mem_printf("cp %s %s", from, to);

    cr_assert_eq(system(command), 0);
}

Test(tls, a_certificate_made_here_is_good_for_its_names_and_made_once)
{
    struct files f;
    struct stat st;
    FILE *file;

    make_files(&f);
    int rc = tls_make_self_signed(f.cert[0], f.key[0], NULL, 0, 30, NULL);
    cr_assert_eq(rc, 1);
    cr_assert_eq(stat(f.key[0], &st), 0);
    cr_assert_eq(st.st_mode & 077, 0);
    file = fopen(f.cert[0], "re");
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    cr_assert(cert);
    cr_assert_eq(X509_check_host(cert, "mail.example.org", 0, 0, NULL), 1);
    cr_assert_eq(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    cr_assert_eq(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    cr_assert_eq(X509_check_host(cert, "example.org", 0, 0, NULL), 0);
    cr_assert_eq(X509_verify(cert, X509_get0_pubkey(cert)), 1);
    X509_free(cert);
    unlink(f.key[0]);
    rc = tls_make_self_signed(f.cert[0], f.key[0], NULL, 0, 30, NULL);
    cr_assert_eq(rc, -ERR_EXISTS);
    remove_files(&f);
}

Test(tls, bad_files_are_refused_by_name)
{
    struct files f;
    struct tls *tls = NULL;
    struct error err = {0};

    make_files(&f);
    struct tls_file_pair rows[] = {
        {"/nonexistent/cert.pem", f.key[0]},
        {f.key[0], f.key[0]},
        {f.cert[0], f.key[1]},
        {f.cert[0], f.cert[0]},
        {"/dev/null", f.key[0]},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = tls_new(&(struct tls_settings){.pairs = &rows[i], .pairs_n = 1}, &tls, &err);

        cr_assert_lt(rc, 0, "row %zu", i);
        cr_assert_null(tls);
        cr_assert(strstr(err.text, rows[i].cert) || strstr(err.text, rows[i].key), "%s", err.text);
    }
    struct tls_settings ciphers = {
        .pairs = &(struct tls_file_pair){f.cert[0], f.key[0]}, .pairs_n = 1, .ciphers = "NONSENSE"};
    int rc = tls_new(&ciphers, &tls, &err);
    cr_assert_eq(rc, -ERR_INVALID);
    remove_files(&f);
}

/* The host name in the certificate that the server shows to a client that asks for `sni`. */
static bool shows(const char *address, const char *sni, const char *host)
{
    struct client_end c;
    bool fine = client_open(&c, address) && client_start_tls(&c, sni, 0);
    X509 *cert = fine ? SSL_get1_peer_certificate(c.ssl) : NULL;

    fine = cert && X509_check_host(cert, host, 0, 0, NULL) == 1;
    X509_free(cert);
    client_close(&c);
    return fine;
}

Test(tls, the_certificate_is_chosen_by_name_and_reloaded_without_dropping_anybody)
{
    struct files f;
    struct line_service line;
    struct net *net;
    struct tls *tls;
    struct client_end c;

    make_files(&f);
    line_service_init(&line);
    struct tls_file_pair pairs[] = {{f.cert[0], f.key[0]}, {f.cert[1], f.key[1]}};
    int rc = tls_new(&(struct tls_settings){.pairs = pairs, .pairs_n = 2}, &tls, NULL);
    cr_assert_eq(rc, 0);
    rc = net_new(&(struct net_settings){.loops = 1, .workers = 1}, &net, NULL);
    cr_assert_eq(rc, 0);
    struct net_listener l = {.address = "127.0.0.1:0", .tls = tls, .implicit_tls = true};
    rc = net_listen(net, &l, &line.service, NULL);
    cr_assert_eq(rc, 0);
    const char *address = net_listener_address(net, 0);

    cr_assert(shows(address, "mail.example.org", "mail.example.org"));
    cr_assert(shows(address, "other.example.net", "other.example.net"));
    cr_assert(shows(address, "unknown.example", "mail.example.org"));
    cr_assert(shows(address, NULL, "mail.example.org"));

    cr_assert(client_open(&c, address) && client_start_tls(&c, NULL, 0));
    copy_file(f.cert[2], f.cert[0]); /* the key is not there yet: no pair */
    cr_assert_lt(tls_reload(tls, NULL, NULL), 0);
    cr_assert(shows(address, NULL, "mail.example.org"));
    copy_file(f.key[2], f.key[0]);
    rc = tls_reload(tls, NULL, NULL);
    cr_assert_eq(rc, 0);
    cr_assert(shows(address, NULL, "c"));
    struct tls_settings other = {.pairs = &pairs[1], .pairs_n = 1};
    rc = tls_reload(tls, &other, NULL);
    cr_assert_eq(rc, 0);
    cr_assert(shows(address, NULL, "other.example.net"));
    cr_assert_str_eq(client_line(&c), "hello");
    client_say(&c, "echo still here\r\n");
    cr_assert_str_eq(client_line(&c), "still here");
    client_close(&c);
    net_free(net);
    tls_free(tls);
    remove_files(&f);
}
