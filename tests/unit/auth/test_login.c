/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/auth/login.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

static struct store *store;
static struct directory *d;
static struct auth *auth;
static struct error err;
static struct session_peer peer = {.remote = "192.0.2.1", .tls = true};

static const struct auth_options options = {
    .cost = {.argon2_memory = 8192, .argon2_passes = 3, .scram_iterations = 4096},
    .hash_threads = 2,
    .cache_ttl_ms = 60000,
    .cache_entries = 2,
    .failure_delay_ms = 1000,
    .failure_delay_max_ms = 8000};

static void add(const char *login, const char *password)
{
    CLEANUP(buf_done) struct buf hash = buf_make(1000);
    struct directory_account wanted = {.login = login};
    uint64_t id;

    if (password)
        cr_assert(password_hash(slice_str(password), &options.cost, &hash, &err) == 0);
    wanted.hash = buf_cstr(&hash);
    cr_assert(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == 0, "%s", err.text);
}

static void setup(void)
{
    struct directory_options directory_options = {.delimiter = '+', .default_domain = "b.org"};

    cr_assert(store_open("memory:", NULL, &store, &err) == 0);
    d = directory_new(store, &directory_options);
    cr_assert(directory_domain_add(d, S("b.org"), &err) == 0);
    cr_assert(auth_new(d, &options, &auth, &err) == 0, "%s", err.text);
    add("joe@b.org", "secret");
}

static void teardown(void)
{
    auth_free(auth);
    directory_free(d);
    store_close(store);
}

TestSuite(login, .init = setup, .fini = teardown, .timeout = 60);

static int64_t not_before;
static struct auth_user user;

static int login(const char *name, const char *password)
{
    memset(&user, 0, sizeof user);
    err = (struct error){0};
    return auth_login(auth, AUTH_IMAP, &peer, slice_str(name), slice_str(password), &user,
                      &not_before, &err);
}

static void change(const char *name, enum account_status status, const char *password)
{
    CLEANUP(buf_done) struct buf hash = buf_make(1000);
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account account;

    cr_assert(directory_account_find(d, slice_str(name), &a, &account, &err) == 0);
    account.status = status;
    if (password) {
        cr_assert(password_hash(slice_str(password), &options.cost, &hash, &err) == 0);
        account.hash = buf_cstr(&hash);
    }
    cr_assert(directory_account_update(d, &account, &err) == 0);
}

Test(login, right_is_right_and_wrong_is_wrong)
{
    cr_expect(login("Joe@B.ORG", "secret") == 0, "%s", err.text);
    cr_expect_str_eq(user.login, "joe@b.org");
    cr_expect(user.account != 0 && not_before == 0);
    cr_expect(login("joe", "secret") == 0);
    cr_expect(login("joe", "Secret") == -ERR_AUTH);
    cr_expect(login("joe", "") == -ERR_AUTH);
    cr_expect(login("", "secret") == -ERR_AUTH);
    cr_expect(login("joe+x", "secret") == -ERR_AUTH);
}

Test(login, all_failures_look_the_same)
{
    static const char *const names[] = {"joe", "nobody", "off", "nopassword", "sales", "no name"};
    struct slice target = S("joe@b.org");
    char text[ERROR_TEXT_MAX] = "";
    uint64_t trips = 0;

    add("off@b.org", "secret");
    add("nopassword@b.org", NULL);
    change("off@b.org", ACCOUNT_DISABLED, NULL);
    cr_assert(directory_alias_add(d, S("sales@b.org"), &target, 1, &err) == 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int64_t start = clock_mono_ms(), took;
        uint64_t before = store_trips();

        snprintf(peer.remote, sizeof peer.remote, "192.0.2.%zu", 10 + i);
        cr_expect(login(names[i], strcmp(names[i], "joe") ? "secret" : "wrong") == -ERR_AUTH);
        took = clock_mono_ms() - start;
        if (i == 0)
            strcpy(text, err.text);
        cr_expect_str_eq(err.text, text);
        /* The same reads, the same hash, and an answer due at the same time after the start. */
        if (i == 0)
            trips = store_trips() - before;
        cr_expect_eq(store_trips() - before, trips, "%s", names[i]);
        cr_expect(took >= 3, "%s: a hash was computed", names[i]);
        cr_expect(not_before >= start + 1000 && not_before <= start + 1010, "%s: %d", names[i],
                  (int)(not_before - start));
    }
}

Test(login, again_costs_no_hash_until_something_changes)
{
    cr_assert(login("joe", "secret") == 0);
    int64_t start = clock_mono_us();
    for (int i = 0; i < 100; i++)
        cr_assert(login("joe", "secret") == 0);
    int64_t cached = (clock_mono_us() - start) / 100;
    start = clock_mono_us();
    cr_expect(login("joe", "wrong") == -ERR_AUTH);
    int64_t uncached = clock_mono_us() - start;
    cr_expect(cached * 4 < uncached, "%d us, %d us", (int)cached, (int)uncached);

    change("joe@b.org", ACCOUNT_ENABLED, "new");
    cr_expect(login("joe", "secret") == -ERR_AUTH);
    cr_expect(login("joe", "new") == 0);
    change("joe@b.org", ACCOUNT_DISABLED, NULL);
    cr_expect(login("joe", "new") == -ERR_AUTH);
}

Test(login, the_cache_is_bounded)
{
    add("ann@b.org", "a");
    add("bob@b.org", "b");
    for (int i = 0; i < 3; i++)
        cr_expect(login("joe", "secret") == 0 && login("ann", "a") == 0 && login("bob", "b") == 0);
}

Test(login, no_password_without_tls)
{
    struct session_peer plain = {.remote = "192.0.2.1"};

    cr_expect(!auth_plaintext_allowed(auth, &plain));
    cr_expect(auth_login(auth, AUTH_IMAP, &plain, S("joe"), S("secret"), &user, &not_before,
                         &err) == -ERR_NOPERM);
    plain.trusted = true;
    cr_expect(
        auth_login(auth, AUTH_IMAP, &plain, S("joe"), S("secret"), &user, &not_before, &err) == 0);
}

Test(login, guessing_is_shut_out_for_a_while)
{
    char guess[20];

    for (int i = 0; i < AUTH_FREE_FAILURES; i++) {
        snprintf(guess, sizeof guess, "guess%d", i);
        cr_expect(login("joe", guess) == -ERR_AUTH);
    }
    int64_t now = clock_mono_ms();
    cr_expect(login("joe", "secret") == -ERR_LIMIT, "even the right one");
    cr_expect(not_before > now);
    cr_expect(login("other", "x") == -ERR_LIMIT, "the address as a whole");
    strcpy(peer.remote, "198.51.100.9");
    cr_expect(login("joe", "secret") == -ERR_LIMIT, "the account from elsewhere");
}

Test(login, verifiers_alone_serve_too)
{
    CLEANUP(buf_done) struct buf scram = buf_make(1000);
    struct directory_account wanted = {.login = "ann@b.org"};
    uint64_t id;

    cr_assert(password_scram(S("pencil"), SCRAM_SHA256, 4096, &scram, &err) == 0);
    wanted.scram = buf_cstr(&scram);
    cr_assert(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == 0);
    cr_expect(login("ann", "pencil") == 0);
    cr_expect(login("ann", "pencils") == -ERR_AUTH);
}
