/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/app_password.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/auth/sasl.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

static struct store *store;
static struct directory *d;
static struct auth *auth;
static struct error err;
static struct arena arena;
static struct session_peer peer = {.remote = "unix", .tls = true};
static char phone[100], scanner[100];

static const struct auth_options options = {
    .cost = {.argon2_memory = 64, .argon2_passes = 1, .scram_iterations = 4096},
    .hash_threads = 2,
    .cache_ttl_ms = 60000,
    .cache_entries = 10};

static void find(struct directory_account *ret)
{
    cr_assert(directory_account_find(d, S("joe"), &arena, ret, &err) == 0, "%s", err.text);
}

static void add_app(const char *name, unsigned services, int64_t expires_ms, char ret[static 100])
{
    CLEANUP(buf_done) struct buf text = buf_make(99);
    struct directory_app_password item;
    struct directory_account account;

    find(&account);
    app_password_new(name, services, expires_ms, &text, &item);
    snprintf(ret, 100, "%s", buf_cstr(&text));
    cr_assert(app_password_add(&account, &item, &arena, &err) == 0, "%s", err.text);
    cr_assert(directory_account_update(d, &account, &err) == 0, "%s", err.text);
}

static void setup(void)
{
    struct directory_options directory_options = {.delimiter = '+', .default_domain = "b.org"};
    CLEANUP(buf_done) struct buf hash = buf_make(1000), scram = buf_make(1000);
    struct directory_account wanted = {.login = "joe@b.org"};
    uint64_t id;

    cr_assert(store_open("memory:", NULL, &store, &err) == 0);
    d = directory_new(store, &directory_options);
    cr_assert(directory_domain_add(d, S("b.org"), &err) == 0);
    cr_assert(password_hash(S("secret"), &options.cost, &hash, &err) == 0);
    cr_assert(password_scram(S("secret"), SCRAM_SHA256, 4096, &scram, &err) == 0);
    wanted.hash = buf_cstr(&hash);
    wanted.scram = buf_cstr(&scram);
    cr_assert(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == 0);
    cr_assert(auth_new(d, &options, &auth, &err) == 0, "%s", err.text);
    add_app("phone", AUTH_IMAP | AUTH_SMTP, 0, phone);
    add_app("scanner", AUTH_SMTP, 0, scanner);
}

static void teardown(void)
{
    auth_free(auth);
    directory_free(d);
    store_close(store);
    arena_done(&arena);
}

TestSuite(app_password, .init = setup, .fini = teardown, .timeout = 60);

static int login(enum auth_service service, const char *password)
{
    struct auth_user user;
    int64_t not_before;

    return auth_login(auth, service, &peer, S("joe"), slice_str(password), &user, &not_before,
                      &err);
}

static int plain(enum auth_service service, const char *password)
{
    CLEANUP(buf_done) struct buf first = buf_make(1000), challenge = buf_make(10000);
    struct sasl_exchange *x = NULL;
    struct auth_user user;
    int64_t not_before;
    struct slice text;

    buf_add(&first, "\0joe\0", 5);
    buf_add_str(&first, password);
    text = buf_slice(&first);
    return sasl_start(auth, service, S("PLAIN"), &peer, &text, &x, &challenge, &user, &not_before,
                      &err);
}

Test(app_password, each_is_for_what_it_was_made_for)
{
    const struct {
        enum auth_service service;
        const char *password;
        int want;
    } cases[] = {{AUTH_IMAP, phone, 0},         {AUTH_SMTP, phone, 0},
                 {AUTH_POP3, phone, -ERR_AUTH}, {AUTH_IMAP, scanner, -ERR_AUTH},
                 {AUTH_SMTP, scanner, 0},       {AUTH_POP3, "secret", 0},
                 {AUTH_SMTP, "secret", 0},      {AUTH_IMAP, "secre", -ERR_AUTH}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect(login(cases[i].service, cases[i].password) == cases[i].want, "case %zu", i);
        cr_expect(plain(cases[i].service, cases[i].password) == cases[i].want, "case %zu", i);
    }
}

Test(app_password, it_may_be_typed_in_any_way)
{
    char text[200] = "  ";
    size_t n = 2;

    for (const char *p = phone; *p; p++) {
        if (*p == '-')
            continue;
        text[n] = (char)(n % 4 ? byte_upper((uint8_t)*p) : (uint8_t)*p);
        text[n + 1] = ' ';
        n += 2;
    }
    text[n] = '\0';
    cr_expect(login(AUTH_IMAP, text) == 0);
    text[n++] = 'a';
    text[n] = '\0';
    cr_expect(login(AUTH_IMAP, text) == -ERR_AUTH, "a letter more");
    phone[strlen(phone) - 1] = '\0';
    cr_expect(login(AUTH_IMAP, phone) == -ERR_AUTH, "a letter less");
}

Test(app_password, it_ends_when_it_expires_or_is_taken_back)
{
    struct directory_account account;
    char old[100];

    add_app("old", AUTH_IMAP, clock_wall_ms() - 1, old);
    cr_expect(login(AUTH_IMAP, old) == -ERR_AUTH);
    find(&account);
    cr_expect(app_password_check(&account, slice_str(old), AUTH_IMAP, 0) == 1);
    cr_expect(app_password_check(&account, slice_str(old), AUTH_POP3, 0) == -ERR_NOPERM);
    cr_expect(app_password_delete(&account, "phones", &arena, &err) == -ERR_NOTFOUND);
    cr_expect(app_password_delete(&account, "phone", &arena, &err) == 0);
    cr_assert(directory_account_update(d, &account, &err) == 0);
    cr_expect(login(AUTH_IMAP, phone) == -ERR_AUTH);
    cr_expect(login(AUTH_SMTP, scanner) == 0);
}

Test(app_password, a_disabled_account_has_none)
{
    struct directory_account account;

    find(&account);
    account.status = ACCOUNT_DISABLED;
    cr_assert(directory_account_update(d, &account, &err) == 0);
    cr_expect(login(AUTH_IMAP, phone) == -ERR_AUTH);
    cr_assert(directory_account_close(d, account.id, NULL, NULL, &err) == 0);
    cr_assert(directory_account_get(d, account.id, &arena, &account, &err) == 0);
    cr_expect_eq(account.app_passwords_n, 0);
}

/* The main password, shown or not, is not for what it is refused for; also once it is remembered.
 */
Test(app_password, the_main_one_can_be_kept_from_services)
{
    CLEANUP(buf_done) struct buf challenge = buf_make(10000);
    struct directory_account account;
    struct sasl_exchange *x = NULL;
    struct slice first = S("n,,n=joe,r=abc");
    struct auth_user user;
    int64_t not_before;

    cr_expect(login(AUTH_IMAP, "secret") == 0);
    find(&account);
    account.refused = AUTH_IMAP | AUTH_POP3;
    cr_assert(directory_account_update(d, &account, &err) == 0);
    cr_expect(login(AUTH_IMAP, "secret") == -ERR_AUTH);
    cr_expect(login(AUTH_POP3, "secret") == -ERR_AUTH);
    cr_expect(login(AUTH_SMTP, "secret") == 0);
    cr_expect(login(AUTH_IMAP, "secret") == -ERR_AUTH, "remembered for submission only");
    cr_expect(login(AUTH_IMAP, phone) == 0);
    cr_expect(sasl_start(auth, AUTH_IMAP, S("SCRAM-SHA-256"), &peer, &first, &x, &challenge, &user,
                         &not_before, &err) == 1,
              "looks like any other");
    sasl_free(x);
}

Test(app_password, there_are_so_many_and_names_are_names)
{
    static const char *const bad[] = {"", "a\nb", "\xff"};
    struct directory_app_password item = {.name = "phone"};
    struct directory_account account;
    char name[20];

    find(&account);
    cr_expect(app_password_add(&account, &item, &arena, &err) == -ERR_EXISTS);
    for (int i = 2; i < DIRECTORY_APP_PASSWORDS_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        item.name = arena_str(&arena, slice_str(name));
        cr_assert(app_password_add(&account, &item, &arena, &err) == 0);
    }
    item.name = "one more";
    cr_expect(app_password_add(&account, &item, &arena, &err) == -ERR_LIMIT);
    cr_assert(directory_account_update(d, &account, &err) == 0);
    find(&account);
    cr_expect_eq(account.app_passwords_n, DIRECTORY_APP_PASSWORDS_MAX);
    cr_expect(login(AUTH_IMAP, phone) == 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        account.app_passwords_n = 1;
        account.app_passwords = &(struct directory_app_password){.name = bad[i]};
        cr_expect(directory_account_update(d, &account, &err) == -ERR_INVALID);
    }
}
