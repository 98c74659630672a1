/* SPDX-License-Identifier: MPL-2.0 */
/* Tokens from an issuer over HTTP, alone and as SASL messages. */
#include "lib/auth/oauth.h"

#include "lib/auth/fetch.h"
#include "lib/auth/jwt.h"
#include "lib/auth/sasl.h"
#include "lib/auth/sasl_oauth.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/store/store.h"
#include "tests/unit/auth/http.h"
#include "tests/unit/auth/token.h"

#define ISSUER "https://id.example.org"

static struct http http;
static EVP_PKEY *key, *next_key;
static _Atomic int generation;    /* which key the server shows */
static _Atomic bool out_of_order; /* the server answers 500 */
static struct error err;
static struct oauth *oauth;
static char keys_url[100], ask_url[100];

static void answer_introspection(const char *request, struct buf *out)
{
    const char *token = strstr(request, "&token=");
    const char *claims =
        strstr(token, "=good")     ? "{\"active\":true,\"email\":\"joe@b.org\"}"
        : strstr(token, "=long")   ? "{\"active\":true,\"email\":\"joe@b.org\",\"exp\":1}"
        : strstr(token, "=none")   ? "nonsense"
        : strstr(token, "=other")  ? "{\"active\":true,\"iss\":\"x\",\"email\":\"joe@b.org\"}"
        : strstr(token, "=nobody") ? "{\"active\":true}"
                                   : "{\"active\":false}";

    cr_expect(strcasestr(request, "\r\nAuthorization: Basic bWFpbDpzJTI2Y3JldA==\r\n") != NULL);
    http_ok(out, slice_str(claims));
}

static void answer(const char *request, struct buf *out)
{
    CLEANUP(buf_done) struct buf body = buf_make(65536);

    if (out_of_order) {
        buf_add_str(out, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    } else if (strncmp(request, "POST /ask ", 10) == 0) {
        answer_introspection(request, out);
    } else if (strncmp(request, "GET /moved ", 11) == 0) {
        buf_printf(out, "HTTP/1.1 302 Found\r\nLocation: %s\r\nConnection: close\r\n\r\n",
                   keys_url);
    } else if (strncmp(request, "GET /long ", 10) == 0) {
        while (body.n < 60000)
            buf_add_byte(&body, ' ');
        http_ok(out, buf_slice(&body));
    } else {
        buf_add_str(&body, "{\"keys\":[");
        add_jwk(&body, generation ? next_key : key, "ES256", generation ? "two" : "one", "");
        buf_add_str(&body, "]}");
        http_ok(out, buf_slice(&body));
    }
}

static struct oauth *open_oauth(bool keys, bool ask, int64_t floor_ms)
{
    struct oauth_issuer issuer = {.issuer = ISSUER,
                                  .audience = keys ? "mail" : "",
                                  .keys = keys ? keys_url : "",
                                  .algorithms = JWT_ES256 | JWT_RS256,
                                  .introspection = ask ? ask_url : "",
                                  .client_id = "mail",
                                  .client_secret = "s&cret",
                                  .cafile = "",
                                  .claim = "email",
                                  .scope = "",
                                  .leeway_ms = 60000};
    struct oauth_options options = {.issuers = &issuer,
                                    .issuers_n = 1,
                                    .timeout_ms = 20000,
                                    .key_age_ms = 3600000,
                                    .key_floor_ms = floor_ms,
                                    .cache_ms = 60000};
    struct oauth *o = NULL;

    cr_assert(oauth_new(&options, &o, &err) == 0, "%s", err.text);
    return o;
}

static void setup(void)
{
    log_set_level(LOG_ERROR_);
    key = make_test_key("ES256");
    next_key = make_test_key("ES256");
    http.answer = answer;
    http_start(&http);
    snprintf(keys_url, sizeof keys_url, "http://127.0.0.1:%d/keys", http.port);
    snprintf(ask_url, sizeof ask_url, "http://localhost:%d/ask", http.port);
}

static void teardown(void)
{
    oauth_free(oauth);
    http_stop(&http);
    EVP_PKEY_free(key);
    EVP_PKEY_free(next_key);
}

TestSuite(oauth, .init = setup, .fini = teardown, .timeout = 60);

/* A token for joe that `by` signs under the name `kid`, good for an hour from now on + shift. */
static void make_jwt(struct buf *out, EVP_PKEY *by, const char *kid, const char *audience,
                     const char *email, int64_t shift_s)
{
    CLEANUP_FREE char *header = mem_printf("{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    CLEANUP_FREE char *claims =
        mem_printf("{\"iss\":\"" ISSUER "\",\"aud\":\"%s\",\"email\":\"%s\",\"exp\":%lld}",
                   audience, email, (long long)(clock_wall_ms() / 1000 + 3600 + shift_s));

    make_token(out, by, "ES256", header, claims);
}

static int check(struct slice token)
{
    CLEANUP(buf_done) struct buf login = buf_make(2000);
    int r = oauth_check(oauth, token, &login, &err);

    if (r == 0)
        cr_expect_str_eq(buf_cstr(&login), "joe@b.org");
    else
        cr_expect_eq(login.n, 0);
    return r;
}

static int check_jwt(EVP_PKEY *by, const char *kid, const char *audience, int64_t shift_s)
{
    CLEANUP(buf_done) struct buf token = buf_make(10000);

    make_jwt(&token, by, kid, audience, "joe@b.org", shift_s);
    return check(buf_slice(&token));
}

Test(oauth, signed_tokens)
{
    oauth = open_oauth(true, false, 60000);
    cr_expect(check_jwt(key, "one", "mail", 0) == 0, "%s", err.text);
    cr_expect(check_jwt(key, "one", "mail", 0) == 0);
    cr_expect(check_jwt(next_key, "one", "mail", 0) == -ERR_AUTH, "another's signature");
    cr_expect(check_jwt(key, "one", "drive", 0) == -ERR_AUTH, "for others");
    cr_expect(check_jwt(key, "one", "mail", -3700) == -ERR_AUTH, "expired");
    cr_expect(check(S("good")) == -ERR_AUTH, "nobody to ask");
    cr_expect(check(S("")) == -ERR_AUTH);
    cr_expect(check(S("e.e.e")) == -ERR_AUTH);
    cr_expect(check(S("a token")) == -ERR_AUTH);
    cr_expect_eq(atomic_load(&http.requests), 1, "the keys were read once");
    cr_expect_eq(oauth_read_counters(oauth).accepted, 2);
    cr_expect_eq(oauth_read_counters(oauth).refused, 7);
}

/* The issuer has changed its key. */
Test(oauth, an_unknown_key_is_looked_for)
{
    oauth = open_oauth(true, false, 0);
    cr_expect(check_jwt(key, "one", "mail", 0) == 0);
    generation = 1;
    cr_expect(check_jwt(next_key, "two", "mail", 0) == 0, "%s", err.text);
    cr_expect(check_jwt(key, "one", "mail", 0) == -ERR_AUTH, "taken out of the set");
    cr_expect_eq(atomic_load(&http.requests), 3);
}

Test(oauth, made_up_key_names_cause_no_flood)
{
    oauth = open_oauth(true, false, 3600000);
    cr_expect(check_jwt(key, "one", "mail", 0) == 0);
    for (int i = 0; i < 100; i++) {
        char kid[20];

        snprintf(kid, sizeof kid, "kid%d", i);
        cr_expect(check_jwt(key, kid, "mail", 0) == -ERR_AUTH);
    }
    cr_expect_eq(atomic_load(&http.requests), 1);
    cr_expect(check_jwt(key, "one", "mail", 0) == 0);
}

Test(oauth, an_issuer_that_is_away)
{
    oauth = open_oauth(true, false, 3600000);
    out_of_order = true;
    cr_expect(check_jwt(key, "one", "mail", 0) == -ERR_UNAVAILABLE);
    cr_expect(check_jwt(key, "one", "mail", 0) == -ERR_UNAVAILABLE);
    cr_expect_eq(atomic_load(&http.requests), 1, "not asked again at once");
    oauth_free(oauth);
    oauth = open_oauth(true, false, 0);
    out_of_order = false;
    cr_expect(check_jwt(key, "one", "mail", 0) == 0);
    out_of_order = true;
    cr_expect(check_jwt(key, "two", "mail", 0) == -ERR_AUTH);
    cr_expect(check_jwt(key, "one", "mail", 0) == 0, "the last set stays in use");
}

Test(oauth, introspection)
{
    oauth = open_oauth(false, true, 0);
    cr_expect(check(S("good")) == 0, "%s", err.text);
    cr_expect(check(S("good")) == 0);
    cr_expect_eq(atomic_load(&http.requests), 1, "remembered");
    cr_expect_eq(oauth_read_counters(oauth).cached, 1);
    cr_expect(check(S("bad")) == -ERR_AUTH);
    cr_expect(check(S("bad")) == -ERR_AUTH);
    cr_expect_eq(atomic_load(&http.requests), 2);
    cr_expect(check(S("long")) == -ERR_AUTH, "active, but expired by its own word");
    cr_expect(check(S("other")) == -ERR_AUTH, "of another issuer");
    cr_expect(check(S("nobody")) == -ERR_AUTH);
    cr_expect(check(S("none")) == -ERR_UNAVAILABLE);
    out_of_order = true;
    cr_expect(check(S("good2")) == -ERR_UNAVAILABLE);
    cr_expect(check(S("good")) == 0);
}

/* A signed token of an issuer that only introspects is asked of that one; others' are not shown. */
Test(oauth, tokens_are_shown_to_their_issuer_only)
{
    CLEANUP(buf_done) struct buf token = buf_make(10000);

    oauth = open_oauth(false, true, 0);
    make_token(&token, key, "ES256", "{\"alg\":\"ES256\"}", "{\"iss\":\"https://evil.example\"}");
    cr_expect(check(buf_slice(&token)) == -ERR_AUTH);
    cr_expect_eq(atomic_load(&http.requests), 0);
    make_token(&token, key, "ES256", "{\"alg\":\"ES256\"}", "{\"iss\":\"" ISSUER "\"}");
    cr_expect(check(buf_slice(&token)) == -ERR_AUTH);
    cr_expect_eq(atomic_load(&http.requests), 1);
}

Test(oauth, fetching)
{
    CLEANUP(buf_done) struct buf out = buf_make(50000);
    static const struct {
        const char *url;
        bool allowed;
    } urls[] = {{"https://id.example.org/x", true}, {"https://", false},
                {"http://localhost/x", true},       {"http://localhost.example.org/", false},
                {"http://127.0.0.1:80/", true},     {"http://127.0.0.11/", false},
                {"http://[::1]:8080/", true},       {"http://example.org/", false},
                {"file:///etc/passwd", false},      {"http://localhost:x@example.org/", false},
                {"ftp://localhost/", false},        {"", false}};
    char url[100];

    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        cr_expect(fetch_url_allowed(urls[i].url) == urls[i].allowed, "%s", urls[i].url);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/moved", http.port);
    cr_expect(fetch_run(&(struct fetch){.url = url, .timeout_ms = 20000}, &out, &err) ==
                  -ERR_UNAVAILABLE,
              "redirects are not followed");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/long", http.port);
    cr_expect(fetch_run(&(struct fetch){.url = url, .timeout_ms = 20000}, &out, &err) ==
              -ERR_LIMIT);
    buf_reset(&out, 50000);
    cr_expect(fetch_run(&(struct fetch){.url = "file:///etc/passwd", .timeout_ms = 1000}, &out,
                        &err) == -ERR_UNAVAILABLE);
}

Test(oauth, what_is_asked_for_must_be_whole)
{
    struct oauth_issuer good = {.issuer = ISSUER,
                                .audience = "mail",
                                .keys = "/keys.json",
                                .algorithms = JWT_ES256,
                                .introspection = "",
                                .claim = "email"};
    struct oauth_issuer bad[] = {good, good, good, good, good, good};

    bad[0].issuer = "";
    bad[1].keys = "";
    bad[2].audience = "";
    bad[3].algorithms = 0;
    bad[4].keys = "http://example.org/keys";
    bad[5].introspection = "http://example.org/ask";
    cr_expect(
        oauth_check_options(&(struct oauth_options){.issuers = &good, .issuers_n = 1}, &err) == 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect(oauth_check_options(&(struct oauth_options){.issuers = &bad[i], .issuers_n = 1},
                                      &err) == -ERR_INVALID,
                  "%zu", i);
}

/* ---- messages ---- */

Test(oauth_messages, oauthbearer)
{
    static const struct {
        const char *text, *user, *token; /* token NULL: malformed */
    } cases[] = {
        {"n,,\1auth=Bearer abc\1\1", "", "abc"},
        {"n,a=joe@b.org,\1host=mx\1port=143\1auth=bearer  abc== \1\1", "joe@b.org", "abc=="},
        {"y,a=a=2Cb=3D,\1auth=Bearer x\1\1", "a,b=", "x"},
        {"n,,\1\1", "", ""},
        {"n,,\1host=a\1\1", "", ""},
        {"n,,\1auth=Bearer abc\1", NULL, NULL},
        {"n,,\1auth=Bearer abc\1\1x", NULL, NULL},
        {"n,,auth=Bearer abc\1\1", NULL, NULL},
        {"n,,\1auth=Basic abc\1\1", NULL, NULL},
        {"n,,\1auth=Bearer \1\1", NULL, NULL},
        {"n,,\1auth=Bearer a\1auth=Bearer b\1\1", NULL, NULL},
        {"p=tls-unique,,\1auth=Bearer abc\1\1", NULL, NULL},
        {"n,b=joe,\1auth=Bearer abc\1\1", NULL, NULL},
        {"n,a=,\1auth=Bearer abc\1\1", NULL, NULL},
        {"n,a=a=2,\1auth=Bearer abc\1\1", NULL, NULL},
        {"n,a=\xff,\1auth=Bearer abc\1\1", NULL, NULL},
        {"n,,\1=x\1\1", NULL, NULL},
        {"n,,\1x\1\1", NULL, NULL},
        {"n,,", NULL, NULL},
        {"", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_done) struct arena a = {0};
        struct oauth_message m;
        int r = oauthbearer_parse(slice_str(cases[i].text), &a, &m, &err);

        cr_assert(r == (cases[i].token ? 0 : -ERR_INVALID), "case %zu", i);
        if (r == 0)
            cr_expect(slice_eq(m.user, slice_str(cases[i].user)) &&
                          slice_eq(m.token, slice_str(cases[i].token)),
                      "case %zu", i);
    }
}

Test(oauth_messages, xoauth2)
{
    static const struct {
        const char *text, *user, *token;
    } cases[] = {
        {"user=joe@b.org\1auth=Bearer abc\1\1", "joe@b.org", "abc"},
        {"user=joe@b.org\1auth=bearer abc\1\1", "joe@b.org", "abc"},
        {"user=\1auth=Bearer abc\1\1", NULL, NULL},
        {"user=joe\1auth=Bearer abc\1", NULL, NULL},
        {"user=joe\1auth=Bearer abc\1\1\1", NULL, NULL},
        {"user=joe\1auth=Bearer \1\1", NULL, NULL},
        {"user=joe\1\1", NULL, NULL},
        {"auth=Bearer abc\1user=joe\1\1", NULL, NULL},
        {"", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct oauth_message m;
        int r = xoauth2_parse(slice_str(cases[i].text), &m, &err);

        cr_assert(r == (cases[i].token ? 0 : -ERR_INVALID), "case %zu", i);
        if (r == 0)
            cr_expect(slice_eq(m.user, slice_str(cases[i].user)) &&
                          slice_eq(m.token, slice_str(cases[i].token)),
                      "case %zu", i);
    }
}

Test(oauth_messages, refusals)
{
    CLEANUP(buf_done) struct buf out = buf_make(1000);

    oauthbearer_refuse(&out, false, "", "");
    cr_expect_str_eq(buf_cstr(&out), "{\"status\":\"invalid_token\"}");
    buf_reset(&out, 1000);
    oauthbearer_refuse(&out, true, "mail \"x\"", "https://id");
    cr_expect_str_eq(buf_cstr(&out),
                     "{\"status\":\"insufficient_scope\",\"scope\":\"mail \\\"x\\\"\","
                     "\"openid-configuration\":"
                     "\"https://id/.well-known/openid-configuration\"}");
    buf_reset(&out, 1000);
    xoauth2_refuse(&out, "mail");
    cr_expect_str_eq(buf_cstr(&out),
                     "{\"status\":\"401\",\"schemes\":\"bearer\",\"scope\":\"mail\"}");
}

/* ---- logins ---- */

static struct store *store;
static struct directory *d;
static struct auth *auth;
static struct session_peer peer;
static struct auth_user user;
static int64_t not_before;

static void add_account(const char *login, enum account_status status)
{
    struct directory_account wanted = {.login = login, .status = status};
    uint64_t id;

    cr_assert(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == 0, "%s", err.text);
}

static void setup_logins(void)
{
    static const struct directory_options directory_options = {.delimiter = '+',
                                                               .default_domain = "b.org"};
    struct oauth_issuer issuer = {.issuer = ISSUER,
                                  .audience = "mail",
                                  .keys = keys_url,
                                  .algorithms = JWT_ES256,
                                  .introspection = "",
                                  .claim = "email",
                                  .scope = "",
                                  .leeway_ms = 60000};
    struct oauth_options oauth_options = {.issuers = &issuer,
                                          .issuers_n = 1,
                                          .timeout_ms = 20000,
                                          .key_age_ms = 3600000,
                                          .key_floor_ms = 1000};
    struct auth_options options = {
        .cost = {.argon2_memory = 64, .argon2_passes = 1, .scram_iterations = 4096},
        .hash_threads = 2,
        .failure_delay_ms = 1000,
        .failure_delay_max_ms = 8000,
        .oauth = &oauth_options};

    setup();
    peer = (struct session_peer){.remote = "192.0.2.1", .tls = true};
    cr_assert(store_open("memory:", NULL, &store, &err) == 0);
    d = directory_new(store, &directory_options);
    cr_assert(directory_domain_add(d, S("b.org"), &err) == 0);
    cr_assert(auth_new(d, &options, &auth, &err) == 0, "%s", err.text);
    add_account("joe@b.org", ACCOUNT_ENABLED);
    add_account("off@b.org", ACCOUNT_DISABLED);
}

static void teardown_logins(void)
{
    auth_free(auth);
    directory_free(d);
    store_close(store);
    teardown();
}

TestSuite(oauth_logins, .init = setup_logins, .fini = teardown_logins, .timeout = 60);

/* The last verdict; what was said in between in `said`. */
static int login_by(const char *mechanism, const struct buf *message, struct buf *said)
{
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);
    struct slice first = buf_slice(message);
    struct sasl_exchange *x = NULL;
    int r = sasl_start(auth, AUTH_IMAP, slice_str(mechanism), &peer, &first, &x, &challenge, &user,
                       &not_before, &err);

    if (r == 1) {
        cr_expect_eq(not_before, 0, "the refusal goes out at once");
        buf_reset(said, 10000);
        buf_add_slice(said, buf_slice(&challenge));
        r = sasl_step(x, S("\1"), &challenge, &user, &not_before, &err);
    }
    sasl_free(x);
    return r;
}

static int login_as(const char *mechanism, const char *name, const char *email, int64_t shift_s,
                    struct buf *said)
{
    CLEANUP(buf_done) struct buf token = buf_make(10000), message = buf_make(20000);

    make_jwt(&token, key, "one", "mail", email, shift_s);
    if (strcmp(mechanism, "XOAUTH2") == 0)
        buf_printf(&message, "user=%s\1auth=Bearer %s\1\1", name, buf_cstr(&token));
    else
        buf_printf(&message, "n,%s%s,\1auth=Bearer %s\1\1", *name ? "a=" : "", name,
                   buf_cstr(&token));
    return login_by(mechanism, &message, said);
}

Test(oauth_logins, a_good_token_lets_in_whose_it_is)
{
    CLEANUP(buf_done) struct buf said = buf_make(10000);

    cr_expect(login_as("OAUTHBEARER", "joe@b.org", "joe@b.org", 0, &said) == 0, "%s", err.text);
    cr_expect_str_eq(user.login, "joe@b.org");
    cr_expect(login_as("OAUTHBEARER", "", "Joe@B.org", 0, &said) == 0);
    cr_expect(login_as("OAUTHBEARER", "joe", "joe@b.org", 0, &said) == 0);
    cr_expect(login_as("XOAUTH2", "JOE@b.org", "joe@b.org", 0, &said) == 0);
    cr_expect_eq(said.n, 0);
}

Test(oauth_logins, all_refusals_look_the_same)
{
    static const struct {
        const char *name, *email;
        int64_t shift_s;
    } cases[] = {{"joe@b.org", "joe@b.org", -4000},
                 {"nobody@b.org", "nobody@b.org", 0},
                 {"off@b.org", "off@b.org", 0},
                 {"joe@b.org", "off@b.org", 0},
                 {"nobody@b.org", "joe@b.org", 0}};
    static const char *const want[] = {"{\"status\":\"invalid_token\",\"openid-configuration\":"
                                       "\"" ISSUER "/.well-known/openid-configuration\"}",
                                       "{\"status\":\"401\",\"schemes\":\"bearer\"}"};

    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf said = buf_make(10000);
        size_t k = i / 2;
        int64_t now = clock_mono_ms();

        snprintf(peer.remote, sizeof peer.remote, "192.0.2.%zu", i + 10);
        cr_expect(login_as(i % 2 ? "XOAUTH2" : "OAUTHBEARER", cases[k].name, cases[k].email,
                           cases[k].shift_s, &said) == -ERR_AUTH,
                  "%zu", k);
        cr_expect_str_eq(buf_cstr(&said), want[i % 2]);
        cr_expect(not_before >= now + 900, "%zu: held back", k);
        cr_expect_str_eq(err.text, "wrong name or password");
    }
}

Test(oauth_logins, guesses_are_counted)
{
    CLEANUP(buf_done) struct buf said = buf_make(10000);
    int r = -ERR_AUTH;

    for (int i = 0; i < 20 && r == -ERR_AUTH; i++)
        r = login_as("OAUTHBEARER", i % 2 ? "joe@b.org" : "", "joe@b.org", -4000 - i, &said);
    cr_expect(r == -ERR_LIMIT);
    cr_expect(login_as("OAUTHBEARER", "joe@b.org", "joe@b.org", 0, &said) == -ERR_LIMIT,
              "not looked at");
}

/* Without a name they are counted by the address, and do not stand in the way of others. */
Test(oauth_logins, unnamed_guesses_shut_nobody_else_out)
{
    CLEANUP(buf_done) struct buf said = buf_make(10000);

    for (int i = 0; i < 20; i++)
        (void)!login_as("OAUTHBEARER", "", "joe@b.org", -4000 - i, &said);
    cr_expect(login_as("OAUTHBEARER", "", "joe@b.org", 0, &said) == -ERR_LIMIT);
    snprintf(peer.remote, sizeof peer.remote, "198.51.100.1");
    cr_expect(login_as("OAUTHBEARER", "", "joe@b.org", 0, &said) == 0, "%s", err.text);
}

Test(oauth_logins, sizes_and_shapes)
{
    CLEANUP(buf_done) struct buf said = buf_make(10000), message = buf_make(20000);
    struct session_peer plain = {.remote = "192.0.2.1"};
    const char *names[SASL_MECHANISMS_MAX];

    buf_add_str(&message, "n,,\1auth=Bearer ");
    while (message.n < SASL_RESPONSE_MAX)
        buf_add_byte(&message, 'e');
    buf_add_str(&message, "\1\1");
    cr_expect(login_by("OAUTHBEARER", &message, &said) == -ERR_LIMIT);
    cr_expect_eq(atomic_load(&http.requests), 0);
    buf_reset(&message, 20000);
    buf_add_str(&message, "n,,\1\1");
    cr_expect(login_by("OAUTHBEARER", &message, &said) == -ERR_AUTH);
    cr_expect(said.n > 0 && not_before == 0, "a question is no guess");
    buf_reset(&message, 20000);
    buf_add_str(&message, "garbage");
    cr_expect(login_by("XOAUTH2", &message, &said) == -ERR_INVALID);
    cr_expect(sasl_mechanisms(auth, &peer, names) == 5);
    cr_expect_str_eq(names[1], "OAUTHBEARER");
    cr_expect(sasl_mechanisms(auth, &plain, names) == 1, "not in the clear");
}

/* ---- certificates ---- */

static int external(const char *certificate, const char *wanted)
{
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);
    struct slice first = slice_str(wanted);
    struct sasl_exchange *x = NULL;

    memset(&user, 0, sizeof user);
    snprintf(peer.tls_client, sizeof peer.tls_client, "%s", certificate);
    return sasl_start(auth, AUTH_IMAP, S("EXTERNAL"), &peer, &first, &x, &challenge, &user,
                      &not_before, &err);
}

Test(oauth_logins, a_certificate_lets_in_whom_it_names)
{
    static const struct {
        const char *certificate, *wanted;
        int want;
    } cases[] = {{"joe@b.org", "", 0},
                 {"joe@b.org", "joe@b.org", 0},
                 {"Joe@B.ORG", "joe", 0},
                 {"nobody@b.org\njoe@b.org", "", 0},
                 {"nobody@b.org\njoe@b.org", "joe@b.org", 0},
                 {"off@b.org", "", -ERR_AUTH},
                 {"nobody@b.org", "", -ERR_AUTH},
                 {"nobody@b.org", "nobody@b.org", -ERR_AUTH},
                 {"off@b.org", "joe@b.org", -ERR_AUTH},
                 {"joe@b.org", "off@b.org", -ERR_AUTH},
                 {"", "joe@b.org", -ERR_NOTFOUND}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(peer.remote, sizeof peer.remote, "192.0.2.%zu", i + 10);
        cr_expect(external(cases[i].certificate, cases[i].wanted) == cases[i].want, "case %zu: %s",
                  i, err.text);
        if (cases[i].want == 0)
            cr_expect_str_eq(user.login, "joe@b.org");
        if (cases[i].want == -ERR_AUTH)
            cr_expect(not_before > clock_mono_ms() + 500);
    }
}
