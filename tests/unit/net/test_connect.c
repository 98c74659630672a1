/* SPDX-License-Identifier: MPL-2.0 */
/* Outgoing connections, to the small server of line.h. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/unit/net/line.h"

#define WAIT_S 20

/* What became of a session, told when it is freed. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int freed, failed, secure;
    char answer[200];
    struct session_peer peer;
};

struct asking {
    struct session session;
    struct told *told;
    bool starttls;
};

static struct net *net;
static struct line_service service;
static struct tls *tls;
static struct tls_client *client;
static char folder[32], cert[64], key[64];
static struct error err;

static bool ask_ready(struct session *s)
{
    return slice_find(buf_slice(&s->in), '\n') >= 0;
}

/* The greeting is "hello"; what is wanted is "thanks". */
static void answer_line(struct asking *a, const char *line)
{
    struct session *s = &a->session;

    if (strcmp(line, "hello") == 0)
        buf_add_str(&s->out, a->starttls ? "starttls\r\n" : "echo thanks\r\n");
    else if (strcmp(line, "secure") == 0)
        buf_add_str(&s->out, "echo thanks\r\n");
    s->want.starttls = strcmp(line, "go") == 0;
    s->want.close = strcmp(line, "thanks") == 0;
}

static void ask_step(struct session *s, unsigned events)
{
    struct asking *a = CONTAINER_OF(s, struct asking, session);
    ssize_t lf = slice_find(buf_slice(&s->in), '\n');

    pthread_mutex_lock(&a->told->lock);
    if (events & SESSION_FAILED)
        a->told->failed++;
    if (events & SESSION_TLS)
        a->told->secure++;
    a->told->peer = s->peer;
    pthread_mutex_unlock(&a->told->lock);
    if (lf < 0)
        return;
    snprintf(a->told->answer, sizeof a->told->answer, "%.*s", (int)lf - 1, (char *)s->in.p);
    buf_consume(&s->in, (size_t)lf + 1);
    answer_line(a, a->told->answer);
}

static void ask_free(struct session *s)
{
    struct asking *a = CONTAINER_OF(s, struct asking, session);

    pthread_mutex_lock(&a->told->lock);
    a->told->freed++;
    pthread_cond_signal(&a->told->changed);
    pthread_mutex_unlock(&a->told->lock);
    free(a);
}

static const struct session_ops ask_ops = {
    .name = "ask", .ready = ask_ready, .step = ask_step, .free = ask_free};

static struct session *asking_new(struct told *told, bool starttls)
{
    struct asking *a = NEW(struct asking);

    a->told = told;
    a->starttls = starttls;
    a->session.ops = &ask_ops;
    a->session.in = a->session.out = buf_make(4096);
    a->session.want = (struct session_want){.input = true, .input_max = 4096};
    return &a->session;
}

static void setup(void)
{
    struct net_settings settings = {.loops = 1, .workers = 2, .handshake_ms = 2000};
    const char *names[] = {"mail.example.org"};

    log_set_level(LOG_ERROR_);
    strcpy(folder, "/tmp/eider-con-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(cert, sizeof cert, "%s/cert", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    cr_assert_eq(tls_make_self_signed(cert, key, names, 1, 30, &err), 0);
    struct tls_file_pair pair = {cert, key};
    cr_assert_eq(tls_new(&(struct tls_settings){.pairs = &pair, .pairs_n = 1}, &tls, &err), 0);
    cr_assert_eq(tls_client_new(cert, &client, &err), 0, "%s", err.text);
    cr_assert_eq(net_new(&settings, &net, &err), 0);
    line_service_init(&service);
    struct net_listener plain = {.address = "127.0.0.1:0", .tls = tls};
    struct net_listener implicit = {.address = "127.0.0.1:0", .tls = tls, .implicit_tls = true};
    cr_assert_eq(net_listen(net, &plain, &service.service, &err), 0, "%s", err.text);
    cr_assert_eq(net_listen(net, &implicit, &service.service, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    CLEANUP_FREE char *command = mem_printf("rm -rf %s", folder);

    net_free(net);
    tls_free(tls);
    tls_client_free(client);
    cr_assert_eq(system(command), 0);
}

TestSuite(connect, .init = setup, .fini = teardown, .timeout = 120);

static void wait_freed(struct told *told)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&told->lock);
    while (!told->freed && pthread_cond_timedwait(&told->changed, &told->lock, &until) == 0)
        continue;
    pthread_mutex_unlock(&told->lock);
    cr_assert_eq(told->freed, 1);
}

static struct told run(const char *address, const struct tls_target *target, bool starttls,
                       bool implicit)
{
    struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct net_target to = {.implicit_tls = implicit};

    cr_assert_eq(netaddr_parse(address, &to.to, &err), 0);
    to.ssl = target ? tls_client_prepare(client, target) : NULL;
    net_connect(net, &to, asking_new(&told, starttls));
    wait_freed(&told);
    return told;
}

Test(connect, a_session_speaks_first_and_gets_its_answer)
{
    struct told told = run(net_listener_address(net, 0), NULL, false, false);

    cr_assert(strcmp(told.answer, "thanks") == 0, "%s", told.answer);
    cr_assert_eq(told.failed, 0);
    cr_assert_str_eq(told.peer.remote, "127.0.0.1");
    cr_assert_eq(net_read_counters(net).connected, 1);
}

Test(connect, a_refusal_is_told_once)
{
    struct told told = run("127.0.0.1:1", NULL, false, false);

    cr_assert_eq(told.failed, 1);
    cr_assert_str_eq(told.peer.failure, "Connection refused");
    cr_assert_eq(net_read_counters(net).connect_failed, 1);
}

/* DANE-EE of the certificate's key: 3 1 1. */
static void key_hash(uint8_t ret[static 32])
{
    FILE *f = fopen(cert, "re");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    unsigned char *der = NULL;
    unsigned n = 32;

    fclose(f);
    int der_n = i2d_PUBKEY(X509_get0_pubkey(x), &der);
    cr_assert_eq(EVP_Digest(der, (size_t)der_n, ret, &n, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    X509_free(x);
}

static const struct {
    enum tls_verify verify;
    const char *name;
    int flip; /* of the TLSA record */
    uint8_t usage;
    bool works, verified;
} cases[] = {
    {TLS_VERIFY_NONE, "mail.example.org", 0, 3, true, true},
    {TLS_VERIFY_NONE, "other.example.org", 0, 3, true, false},
    {TLS_VERIFY_NAME, "mail.example.org", 0, 3, true, true},
    {TLS_VERIFY_NAME, "other.example.org", 0, 3, false, false},
    {TLS_VERIFY_DANE, "other.example.org", 0, 3, true, true},
    {TLS_VERIFY_DANE, "mail.example.org", 1, 3, false, false},
    {TLS_VERIFY_DANE, "other.example.org", 1, 1, true, false}, /* unusable: encryption alone */
};

static void check_case(size_t i, bool implicit)
{
    uint8_t hash[32];
    key_hash(hash);
    hash[0] ^= (uint8_t)cases[i].flip;
    struct tls_tlsa tlsa = {cases[i].usage, 1, 1, hash, sizeof hash};
    struct tls_target target = {
        .verify = cases[i].verify, .name = cases[i].name, .tlsa = &tlsa, .tlsa_n = 1};
    struct told told = run(net_listener_address(net, implicit), &target, !implicit, implicit);

    cr_expect_eq(told.failed, !cases[i].works, "case %zu: %s", i, told.peer.failure);
    cr_expect_eq(told.peer.tls, cases[i].works, "case %zu", i);
    cr_expect_eq(told.peer.tls_verified, cases[i].verified, "case %zu: %s", i, told.peer.failure);
    cr_expect(cases[i].verified || told.peer.failure[0], "case %zu", i);
    cr_expect_eq(told.secure, cases[i].works && !implicit, "case %zu", i);
    cr_expect(!cases[i].works || strcmp(told.answer, "thanks") == 0, "case %zu: %s", i,
              told.answer);
}

Test(connect, servers_prove_themselves_as_they_must)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(i, false);
        check_case(i, true);
    }
}

Test(connect, a_server_that_never_shakes_hands_is_left)
{
    struct tls_target target = {.verify = TLS_VERIFY_NONE, .name = "x.example"};
    /* speaks no TLS: waits for a line */
    struct told told = run(net_listener_address(net, 0), &target, false, true);

    cr_assert_eq(told.failed, 1);
    cr_assert(told.peer.failure[0]);
}

Test(connect, without_a_prepared_tls_starttls_ends_it)
{
    struct told told = run(net_listener_address(net, 0), NULL, true, false);

    cr_assert_eq(told.secure, 0);
    cr_assert_str_eq(told.answer, "go");
}

Test(connect, the_end_of_the_net_frees_what_is_under_way)
{
    struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct net_target to = {.connect_ms = 60000};

    cr_assert_eq(netaddr_parse("192.0.2.1:25", &to.to, &err), 0); /* TEST-NET-1 */
    net_connect(net, &to, asking_new(&told, false));
    net_free(TAKE(net));
    wait_freed(&told);
}
