/* SPDX-License-Identifier: MPL-2.0 */
/* The peer is libsasl2's client side, or bytes written by hand where it is too polite. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <sasl/sasl.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/auth/sasl.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

static struct store *store;
static struct directory *d;
static struct auth *auth;
static struct error err;
static struct session_peer peer;
static struct auth_user user;
static int64_t not_before;

static void add(const char *login, const char *password)
{
    static const struct password_cost cost = {.argon2_memory = 64, .argon2_passes = 1};
    CLEANUP(buf_done) struct buf hash = buf_make(1000), scram = buf_make(1000);
    CLEANUP(buf_done) struct buf sha1 = buf_make(1000);
    struct directory_account wanted = {.login = login};
    uint64_t id;

    cr_assert(password_hash(slice_str(password), &cost, &hash, &err) == 0);
    cr_assert(password_scram(slice_str(password), SCRAM_SHA256, 4096, &scram, &err) == 0);
    wanted.hash = buf_cstr(&hash);
    cr_assert(password_scram(slice_str(password), SCRAM_SHA1, 4096, &sha1, &err) == 0);
    wanted.scram = buf_cstr(&scram);
    wanted.scram_sha1 = buf_cstr(&sha1);
    cr_assert(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == 0, "%s", err.text);
}

static void setup(void)
{
    static const struct directory_options directory_options = {.delimiter = '+',
                                                               .default_domain = "b.org"};
    static const struct auth_options options = {.cost = {.argon2_memory = 64,
                                                         .argon2_passes = 1,
                                                         .scram_iterations = 4096,
                                                         .scram_sha1_iterations = 4096},
                                                .hash_threads = 2,
                                                .failure_delay_ms = 1000,
                                                .failure_delay_max_ms = 8000,
                                                .hostname = "mx.b.org"};

    peer = (struct session_peer){.remote = "192.0.2.1",
                                 .tls = true,
                                 .has_cb_exporter = true,
                                 .cb_end_point_n = 32,
                                 .cb_unique_n = 12};
    memset(peer.cb_exporter, 7, sizeof peer.cb_exporter);
    memset(peer.cb_end_point, 8, 32);
    memset(peer.cb_unique, 9, 12);
    cr_assert(store_open("memory:", NULL, &store, &err) == 0);
    d = directory_new(store, &directory_options);
    cr_assert(directory_domain_add(d, S("b.org"), &err) == 0);
    cr_assert(auth_new(d, &options, &auth, &err) == 0, "%s", err.text);
    add("joe@b.org", "secret");
    add("jörg@b.org", "pässwörd");
}

static void teardown(void)
{
    auth_free(auth);
    directory_free(d);
    store_close(store);
}

TestSuite(sasl, .init = setup, .fini = teardown, .timeout = 60);

/* ---- a client ---- */

struct client {
    const char *authcid, *authzid, *password;
    const char *binding_type; /* NULL: none */
    struct slice binding;
};

static int answer(void *context, int id, const char **result, unsigned *len)
{
    const struct client *c = context;

    *result = id == SASL_CB_AUTHNAME ? c->authcid : c->authzid ? c->authzid : c->authcid;
    if (id == SASL_CB_USER && !c->authzid)
        *result = "";
    if (len)
        *len = (unsigned)strlen(*result);
    return SASL_OK;
}

static int password(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
    static union {
        sasl_secret_t secret;
        char space[200];
    } s;
    const struct client *c = context;

    s.secret.len = strlen(c->password);
    strcpy((char *)s.secret.data, c->password);
    *secret = &s.secret;
    return SASL_OK;
}

/* A whole login: 0 or what the server said. With initial: the first message goes with AUTHENTICATE.
 */
static int login_by(const char *mechanism, const struct client *c, bool initial)
{
    sasl_callback_t callbacks[] = {
        {SASL_CB_AUTHNAME, (int (*)(void))(void (*)(void))answer, (void *)c},
        {SASL_CB_USER, (int (*)(void))(void (*)(void))answer, (void *)c},
        {SASL_CB_PASS, (int (*)(void))(void (*)(void))password, (void *)c},
        {SASL_CB_LIST_END, NULL, NULL}};
    sasl_channel_binding_t binding = {c->binding_type, 1, c->binding.n, c->binding.p};
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);
    struct sasl_exchange *x = NULL;
    sasl_conn_t *conn = NULL;
    const char *out = NULL;
    struct slice first;
    unsigned n = 0;
    int r, rc;

    memset(&user, 0, sizeof user);
    cr_assert(sasl_client_init(NULL) == SASL_OK);
    cr_assert(sasl_client_new("imap", "mx.b.org", NULL, NULL, callbacks, 0, &conn) == SASL_OK);
    if (c->binding_type)
        cr_assert(sasl_setprop(conn, SASL_CHANNEL_BINDING, &binding) == SASL_OK);
    rc = sasl_client_start(conn, mechanism, NULL, &out, &n, &(const char *){NULL});
    cr_assert(rc == SASL_OK || rc == SASL_CONTINUE, "%s: %d", mechanism, rc);
    first = slice_of(out, n);
    r = sasl_start(auth, AUTH_IMAP, slice_str(mechanism), &peer, initial && out ? &first : NULL, &x,
                   &challenge, &user, &not_before, &err);
    if (r == 1 && !(initial && out) && out)
        r = sasl_step(x, first, &challenge, &user, &not_before, &err);
    while (r == 1) {
        rc = sasl_client_step(conn, (const char *)challenge.p, (unsigned)challenge.n, NULL, &out,
                              &n);
        if (rc != SASL_OK && rc != SASL_CONTINUE) {
            r = -ERR_CANCELLED; /* the client is not content with the server */
            break;
        }
        r = sasl_step(x, slice_of(out, out ? n : 0), &challenge, &user, &not_before, &err);
    }
    sasl_free(x);
    sasl_dispose(&conn);
    return r;
}

Test(sasl, every_mechanism_lets_the_right_one_in)
{
    static const char *const names[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1"};
    static const struct client good[] = {
        {.authcid = "joe", .password = "secret"},
        {.authcid = "Joe@B.org", .password = "secret"},
        {.authcid = "jörg@b.org", .password = "pässwörd"},
        {.authcid = "joe@b.org", .authzid = "joe@b.org", .password = "secret"}};
    static const struct client bad[] = {{.authcid = "joe", .password = "Secret"},
                                        {.authcid = "nobody", .password = "secret"},
                                        {.authcid = "jörg", .password = "secret"}};

    for (size_t m = 0; m < ARRAY_LEN(names); m++)
        for (int initial = 0; initial < 2; initial++) {
            for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                cr_expect(login_by(names[m], &good[i], initial) == 0, "%s %s: %s", names[m],
                          good[i].authcid, err.text);
                cr_expect(user.account != 0);
                cr_expect_str_eq(user.login, i == 2 ? "jörg@b.org" : "joe@b.org");
            }
            for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                int64_t now = clock_mono_ms();

                snprintf(peer.remote, sizeof peer.remote, "10.%zu.%d.%zu", m, initial, i);
                cr_expect(login_by(names[m], &bad[i], initial) < 0, "%s", names[m]);
                cr_expect(not_before >= now + 900, "%s: held back", names[m]);
            }
        }
}

Test(sasl, only_oneself_may_be_asked_for)
{
    static const struct client same = {
        .authcid = "joe", .authzid = "JOE@b.org", .password = "secret"};
    static const struct client other = {
        .authcid = "joe", .authzid = "jörg@b.org", .password = "secret"};

    cr_expect(login_by("PLAIN", &same, true) == 0);
    cr_expect(login_by("SCRAM-SHA-256", &same, true) == 0);
    cr_expect(login_by("PLAIN", &other, true) == -ERR_AUTH);
    cr_expect(login_by("SCRAM-SHA-256", &other, true) == -ERR_AUTH);
}

Test(sasl, channel_binding)
{
    struct slice exporter = slice_of(peer.cb_exporter, 32);
    struct slice end_point = slice_of(peer.cb_end_point, 32);
    struct slice unique = slice_of(peer.cb_unique, 12);
    const struct {
        const char *type;
        struct slice data;
        int want;
    } cases[] = {{"tls-exporter", exporter, 0},
                 {"tls-server-end-point", end_point, 0},
                 {"tls-exporter", end_point, -ERR_AUTH},
                 {"tls-server-end-point", exporter, -ERR_AUTH},
                 {"tls-unique", unique, 0},
                 {"tls-unique", exporter, -ERR_AUTH},
                 {"tls-server-end", end_point, -ERR_INVALID}};

    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        size_t k = i / 2;
        struct client c = {.authcid = "joe",
                           .password = "secret",
                           .binding_type = cases[k].type,
                           .binding = cases[k].data};
        int r = login_by(i % 2 ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-1-PLUS", &c, k % 2);

        cr_expect(r == cases[k].want, "case %zu: %d %s", i, r, err.text);
    }
    peer.has_cb_exporter = false;
    struct client c = {.authcid = "joe",
                       .password = "secret",
                       .binding_type = "tls-exporter",
                       .binding = exporter};
    cr_expect(login_by("SCRAM-SHA-256-PLUS", &c, true) == -ERR_INVALID);
    peer.cb_end_point_n = peer.cb_unique_n = 0;
    cr_expect(login_by("SCRAM-SHA-256-PLUS", &c, true) == -ERR_NOTFOUND);
}

static int first_message(const char *mechanism, const char *text, struct sasl_exchange **x,
                         struct buf *challenge)
{
    struct slice first = slice_str(text);

    return sasl_start(auth, AUTH_IMAP, slice_str(mechanism), &peer, &first, x, challenge, &user,
                      &not_before, &err);
}

Test(sasl, a_downgrade_is_noticed)
{
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);
    struct sasl_exchange *x = NULL;

    cr_expect(first_message("SCRAM-SHA-256", "y,,n=joe,r=abc", &x, &challenge) == -ERR_AUTH);
    cr_expect(first_message("SCRAM-SHA-256", "p=tls-exporter,,n=joe,r=abc", &x, &challenge) ==
              -ERR_INVALID);
    cr_expect(first_message("SCRAM-SHA-256-PLUS", "n,,n=joe,r=abc", &x, &challenge) ==
              -ERR_INVALID);
    cr_expect(first_message("SCRAM-SHA-256-PLUS", "y,,n=joe,r=abc", &x, &challenge) ==
              -ERR_INVALID);
    peer.has_cb_exporter = false;
    peer.cb_end_point_n = peer.cb_unique_n = 0;
    cr_expect(first_message("SCRAM-SHA-256", "y,,n=joe,r=abc", &x, &challenge) == 1);
    sasl_free(x);
}

/* The client's proof by hand, for given nonces. */
static void final_message(const char *first_bare, const struct buf *server_first, const char *word,
                          const char *gs2, struct buf *out)
{
    CLEANUP(buf_done) struct buf text = buf_make(10000), salt = buf_make(100);
    char nonce[200], salt64[100];
    unsigned iterations;
    uint8_t salted[32], client_key[32], stored[32], signature[32];

    cr_assert(sscanf((const char *)server_first->p, "r=%199[^,],s=%99[^,],i=%u", nonce, salt64,
                     &iterations) == 3);
    cr_assert(base64_decode(&salt, slice_str(salt64)) == 0);
    buf_add_str(out, "c=");
    base64_encode(out, slice_str(gs2));
    buf_printf(out, ",r=%s", nonce);
    buf_printf(&text, "%s,%.*s,%.*s", first_bare, SLICE_FMT(buf_slice(server_first)),
               SLICE_FMT(buf_slice(out)));
    cr_assert(PKCS5_PBKDF2_HMAC(word, (int)strlen(word), salt.p, (int)salt.n, (int)iterations,
                                EVP_sha256(), 32, salted) == 1);
    digest_hmac_sha256(slice_of(salted, 32), S("Client Key"), client_key);
    digest_sha256(slice_of(client_key, 32), stored);
    digest_hmac_sha256(slice_of(stored, 32), buf_slice(&text), signature);
    for (int i = 0; i < 32; i++)
        client_key[i] ^= signature[i];
    buf_add_str(out, ",p=");
    base64_encode(out, slice_of(client_key, 32));
}

Test(sasl, a_replay_is_worth_nothing)
{
    CLEANUP(buf_done) struct buf challenge = buf_make(10000), proof = buf_make(10000);
    struct sasl_exchange *x = NULL;

    cr_assert(first_message("SCRAM-SHA-256", "n,,n=joe,r=abc", &x, &challenge) == 1);
    (void)buf_cstr(&challenge); /* for sscanf */
    final_message("n=joe,r=abc", &challenge, "secret", "n,,", &proof);
    cr_assert(sasl_step(x, buf_slice(&proof), &challenge, &user, &not_before, &err) == 1, "%s",
              err.text);
    cr_assert(slice_starts(buf_slice(&challenge), S("v=")));
    cr_assert(sasl_step(x, S(""), &challenge, &user, &not_before, &err) == 0);
    sasl_free(x);

    cr_assert(first_message("SCRAM-SHA-256", "n,,n=joe,r=abc", &x, &challenge) == 1);
    cr_expect(sasl_step(x, buf_slice(&proof), &challenge, &user, &not_before, &err) < 0);
    sasl_free(x);
}

Test(sasl, cut_and_broken_messages_let_nobody_in)
{
    static const char *const firsts[] = {"",
                                         "n",
                                         "n,,",
                                         "n,,n=joe",
                                         "n,,n=,r=abc",
                                         "n,,r=abc,n=joe",
                                         "n,,n=joe,r=",
                                         "x,,n=joe,r=abc",
                                         "n,a=,n=joe,r=abc",
                                         "n,,m=x,n=joe,r=abc",
                                         "n,,n=jo=ZZe,r=abc",
                                         "\xff\xfe"};
    static const char *const finals[] = {
        "", "c=biws", "c=biws,r=abc", "c=biws,r=abc,p=", "p=AAAA", "c=eSws,r=abc,p=AAAA", "\xff"};

    for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
        CLEANUP(buf_done) struct buf challenge = buf_make(10000);
        struct sasl_exchange *x = NULL;
        int r = first_message("SCRAM-SHA-256", firsts[i], &x, &challenge);

        cr_expect(r != 0, "%s", firsts[i]);
        sasl_free(x);
    }
    for (size_t i = 0; i < ARRAY_LEN(finals); i++) {
        CLEANUP(buf_done) struct buf challenge = buf_make(10000);
        struct sasl_exchange *x = NULL;

        strcpy(peer.remote, "unix");
        snprintf(peer.remote, sizeof peer.remote, "10.0.0.%zu", i);
        cr_assert(first_message("SCRAM-SHA-256", "n,,n=jörg,r=abc", &x, &challenge) != 0);
        if (x)
            cr_expect(sasl_step(x, slice_str(finals[i]), &challenge, &user, &not_before, &err) < 0);
        cr_expect(!x || sasl_step(x, S(""), &challenge, &user, &not_before, &err) < 0);
        sasl_free(x);
    }
}

/* With a name of more than 1 KB libsasl2 would lose its memory. */
Test(sasl, names_that_nobody_has_do_not_reach_the_library)
{
    static const char *const patterns[] = {"PLAIN", "SCRAM-SHA-256"};
    char name[2000];

    memset(name, 'a', sizeof name);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        CLEANUP(buf_done) struct buf challenge = buf_make(10000), text = buf_make(10000);
        struct sasl_exchange *x = NULL;
        struct slice first;

        buf_add_slice(&text, i ? S("n,,n=") : S("\0"));
        buf_add(&text, name, sizeof name);
        buf_add_slice(&text, i ? S(",r=abc") : S("\0secret"));
        first = buf_slice(&text);
        peer.has_cb_exporter = false;
        peer.cb_end_point_n = peer.cb_unique_n = 0;
        cr_expect(sasl_start(auth, AUTH_IMAP, slice_str(patterns[i]), &peer, &first, &x, &challenge,
                             &user, &not_before, &err) == -ERR_INVALID);
        cr_expect_str_eq(err.text, "the user name is too long");
    }
}

Test(sasl, messages_of_plain_and_login_are_checked)
{
    static const struct {
        const char *mechanism;
        struct slice first;
    } cases[] = {{"PLAIN", S("")},
                 {"PLAIN", S("joe")},
                 {"PLAIN", S("\0joe")},
                 {"PLAIN", S("\0\0secret")},
                 {"PLAIN", S("\0joe\0secret\0more")},
                 {"PLAIN", S("\0joe\0")}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf challenge = buf_make(10000);
        struct sasl_exchange *x = NULL;

        cr_expect(sasl_start(auth, AUTH_IMAP, slice_str(cases[i].mechanism), &peer, &cases[i].first,
                             &x, &challenge, &user, &not_before, &err) < 0,
                  "case %zu", i);
        cr_expect(!x);
    }
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);
    struct sasl_exchange *x = NULL;
    char big[SASL_RESPONSE_MAX + 1];
    memset(big, 'a', sizeof big);
    struct slice first = slice_of(big, sizeof big);
    cr_expect(sasl_start(auth, AUTH_IMAP, S("PLAIN"), &peer, &first, &x, &challenge, &user,
                         &not_before, &err) == -ERR_LIMIT);
}

/* Who is not there gets a challenge as if he were, always the same, on every node. */
Test(sasl, who_is_there_does_not_show)
{
    CLEANUP(buf_done) struct buf a = buf_make(10000), b = buf_make(10000);
    struct sasl_exchange *x = NULL;
    char salts[4][100];
    static const char *const names[] = {"joe", "nobody", "nobody", "somebody"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(buf_done) struct buf first = buf_make(1000), challenge = buf_make(10000);
        unsigned iterations;

        buf_printf(&first, "n,,n=%s,r=abc", names[i]);
        cr_assert(first_message("SCRAM-SHA-256", buf_cstr(&first), &x, &challenge) == 1);
        cr_assert(sscanf(buf_cstr(&challenge), "r=%*[^,],s=%99[^,],i=%u", salts[i], &iterations) ==
                  2);
        cr_expect(iterations == 4096 && strlen(salts[i]) == 24);
        sasl_free(x);
    }
    cr_expect_str_eq(salts[1], salts[2]);
    cr_expect(strcmp(salts[1], salts[3]) != 0);
}

Test(sasl, what_is_offered_depends_on_the_connection)
{
    const char *names[SASL_MECHANISMS_MAX];
    struct sasl_exchange *x = NULL;
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);

    cr_expect(sasl_mechanisms(auth, &peer, names) == 6);
    cr_expect_str_eq(names[0], "SCRAM-SHA-256-PLUS");
    peer = (struct session_peer){.remote = "192.0.2.1"};
    cr_expect(sasl_mechanisms(auth, &peer, names) == 2);
    cr_expect_str_eq(names[0], "SCRAM-SHA-256");
    cr_expect_str_eq(names[1], "SCRAM-SHA-1");
    cr_expect(sasl_start(auth, AUTH_IMAP, S("plain"), &peer, NULL, &x, &challenge, &user,
                         &not_before, &err) == -ERR_NOTFOUND);
    cr_expect(sasl_start(auth, AUTH_IMAP, S("CRAM-MD5"), &peer, NULL, &x, &challenge, &user,
                         &not_before, &err) == -ERR_NOTFOUND);
    peer.trusted = true;
    cr_expect(sasl_mechanisms(auth, &peer, names) == 4);
    cr_expect(sasl_start(auth, AUTH_IMAP, S("login"), &peer, NULL, &x, &challenge, &user,
                         &not_before, &err) == 1);
    cr_expect_str_eq(buf_cstr(&challenge), "Username:");
    sasl_free(x);
}

Test(sasl, a_disabled_account_cannot_use_its_verifier)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct client c = {.authcid = "joe", .password = "secret"};
    struct directory_account account;

    cr_assert(directory_account_find(d, S("joe"), &a, &account, &err) == 0);
    account.status = ACCOUNT_DISABLED;
    cr_assert(directory_account_update(d, &account, &err) == 0);
    cr_expect(login_by("SCRAM-SHA-256", &c, true) == -ERR_AUTH);
    cr_expect(login_by("PLAIN", &c, true) == -ERR_AUTH);
}
