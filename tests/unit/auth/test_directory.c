/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/auth/directory.h"
#include "lib/auth/directory_impl.h"
#include "lib/base/mem.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"

static struct store *store;
static struct directory *d;
static struct arena arena;
static struct error err;

static void setup(void)
{
    struct directory_options options = {.delimiter = '+', .default_domain = "b.org"};

    cr_assert(store_open("memory:", NULL, &store, &err) == 0, "%s", err.text);
    d = directory_new(store, &options);
    cr_assert(directory_domain_add(d, S("b.org"), &err) == 0, "%s", err.text);
}

static void teardown(void)
{
    arena_done(&arena);
    directory_free(d);
    store_close(store);
}

TestSuite(directory, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t add(const char *login)
{
    struct directory_account wanted = {.login = login, .display = "J. Doe", .connections = 7};
    uint64_t id = 0;

    cr_assert(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == 0, "%s: %s", login,
              err.text);
    cr_assert(id != 0);
    return id;
}

static int alias(const char *address, const char *target)
{
    struct slice slice = slice_str(target);

    return directory_alias_add(d, slice_str(address), &slice, 1, &err);
}

/* Who gets it: "id:detail id:detail" with ids by their place in `ids`, or the error's name. */
static const char *resolve(const char *text, const uint64_t *ids, size_t n, unsigned flags)
{
    struct directory_recipient *got = NULL;
    struct buf out = buf_make(10000);
    size_t got_n = 0;
    int r = directory_resolve(d, slice_str(text), flags, &arena, &got, &got_n, &err);
    const char *result;

    for (size_t i = 0; r == 0 && i < got_n; i++) {
        size_t k = 0;

        while (k < n && ids[k] != got[i].account)
            k++;
        if (got[i].foreign)
            buf_printf(&out, "%s%s", out.n ? " " : "", got[i].foreign);
        else
            buf_printf(&out, "%s%zu:%s", out.n ? " " : "", k, got[i].detail);
    }
    result = arena_str(&arena, r == 0 ? buf_slice(&out) : slice_str(err_name(r)));
    buf_done(&out);
    return result;
}

Test(directory, an_account_is_made_found_changed_and_listed)
{
    struct directory_account got, stale, *list;
    uint64_t id = add("Joe@B.org");
    size_t n;

    cr_assert(directory_account_find(d, S("JOE"), &arena, &got, &err) == 0, "%s", err.text);
    cr_expect(got.id == id && got.connections == 7 && got.status == ACCOUNT_ENABLED);
    cr_expect_str_eq(got.login, "joe@b.org");
    cr_expect_str_eq(got.display, "J. Doe");
    stale = got;
    got.status = ACCOUNT_DISABLED;
    got.message_size = 12345;
    cr_assert(directory_account_update(d, &got, &err) == 0);
    cr_expect(got.version != stale.version);
    cr_expect(directory_account_update(d, &stale, &err) == -ERR_CONFLICT);
    cr_assert(directory_account_get(d, id, &arena, &got, &err) == 0);
    cr_expect(got.status == ACCOUNT_DISABLED && got.message_size == 12345);
    add("ann@b.org");
    cr_assert(directory_account_list(d, 0, 10, &arena, &list, &n, &err) == 0);
    cr_expect(n == 2 && list[0].id < list[1].id);
    cr_assert(directory_account_list(d, list[1].id, 10, &arena, &list, &n, &err) == 0);
    cr_expect(n == 0);
}

Test(directory, what_cannot_be_made_says_why)
{
    struct directory_account wanted = {.login = "joe@b.org"};
    uint64_t id;
    struct directory_account *list;
    size_t n;

    add("joe@b.org");
    cr_expect(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == -ERR_EXISTS);
    wanted.login = "joe@foreign.org";
    cr_expect(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == -ERR_NOTFOUND);
    wanted.login = "joe+x@b.org";
    cr_expect(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == -ERR_INVALID);
    wanted.login = "";
    cr_expect(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == -ERR_INVALID);
    wanted = (struct directory_account){.login = "ann@b.org", .hash = "plain"};
    cr_expect(directory_account_add(d, &wanted, NULL, NULL, &id, &err) == -ERR_INVALID);
    cr_expect(alias("joe@b.org", "x@b.org") == -ERR_EXISTS);
    cr_assert(directory_account_list(d, 0, 10, &arena, &list, &n, &err) == 0);
    cr_expect(n == 1, "nothing is left behind");
}

static int fail_prepare(void *context, uint64_t id, struct error *e)
{
    *(uint64_t *)context = id;
    return error_set(e, ERR_UNAVAILABLE, "no");
}

Test(directory, an_account_whose_log_cannot_begin_is_taken_back)
{
    struct directory_account wanted = {.login = "joe@b.org"}, got;
    uint64_t id, seen = 0;

    cr_expect(directory_account_add(d, &wanted, fail_prepare, &seen, &id, &err) ==
              -ERR_UNAVAILABLE);
    cr_expect(seen != 0);
    cr_expect(directory_account_get(d, seen, &arena, &got, &err) == -ERR_NOTFOUND);
    cr_expect(directory_account_find(d, S("joe@b.org"), &arena, &got, &err) == -ERR_NOTFOUND);
    add("joe@b.org");
}

Test(directory, renaming_moves_the_address)
{
    uint64_t ids[] = {add("joe@b.org"), add("ann@b.org")};
    struct directory_account got, stale;

    cr_assert(directory_account_get(d, ids[0], &arena, &got, &err) == 0);
    stale = got;
    cr_expect(directory_account_rename(d, &got, S("ann@b.org"), &err) == -ERR_EXISTS);
    cr_expect(directory_account_rename(d, &got, S("j@c.org"), &err) == -ERR_NOTFOUND);
    cr_assert(directory_account_rename(d, &got, S("Jim@b.org"), &err) == 0);
    cr_expect_str_eq(resolve("jim@b.org", ids, 2, 0), "0:");
    cr_expect_str_eq(resolve("joe@b.org", ids, 2, 0), "notfound");
    /* One who read before the other renamed: his new address is taken back. */
    cr_expect(directory_account_rename(d, &stale, S("jack@b.org"), &err) == -ERR_CONFLICT);
    cr_expect_str_eq(resolve("jack@b.org", ids, 2, 0), "notfound");
    cr_expect_str_eq(resolve("jim@b.org", ids, 2, 0), "0:");
}

static int fail_once(void *context, uint64_t id, struct error *e)
{
    return (*(int *)context)++ ? 0 : error_set(e, ERR_UNAVAILABLE, "no");
}

Test(directory, closing_I32)
{
    uint64_t ids[] = {add("joe@b.org")};
    struct directory_account got;
    int calls = 0;

    cr_expect(directory_account_forget(d, ids[0], &err) == -ERR_INVALID);
    cr_expect(directory_account_close(d, ids[0], fail_once, &calls, &err) == -ERR_UNAVAILABLE);
    cr_expect_str_eq(resolve("joe@b.org", ids, 1, 0), "notfound", "from the first step on");
    cr_assert(directory_account_find(d, S("joe@b.org"), &arena, &got, &err) == 0);
    cr_expect(got.status == ACCOUNT_CLOSING);
    cr_assert(directory_account_close(d, ids[0], fail_once, &calls, &err) == 0);
    cr_expect(directory_account_find(d, S("joe@b.org"), &arena, &got, &err) == -ERR_NOTFOUND);
    uint64_t again = add("joe@b.org");
    cr_expect(again != ids[0]);
    cr_assert(directory_account_forget(d, ids[0], &err) == 0, "%s", err.text);
    cr_expect_str_eq(resolve("joe@b.org", &again, 1, 0), "0:");
}

Test(directory, who_gets_the_mail)
{
    uint64_t ids[] = {add("joe@b.org"), add("ann@b.org"), add("bob@b.org")};
    struct directory_account got;

    cr_assert(alias("sales@b.org", "joe@b.org") == 0 && alias("sales@b.org", "ann") == 0);
    cr_assert(alias("all@b.org", "sales@b.org") == 0 && alias("all@b.org", "bob@b.org") == 0);
    cr_assert(alias("ann+boss@b.org", "bob+from-ann@b.org") == 0);
    cr_assert(alias("loop1@b.org", "loop2@b.org") == 0 && alias("loop2@b.org", "loop1@b.org") == 0);
    cr_assert(alias("loop2@b.org", "joe@b.org") == 0 && alias("own@b.org", "own@b.org") == 0);
    cr_assert(alias("gone@b.org", "nobody@b.org") == 0);
    cr_assert(alias("out@b.org", "x@foreign.org") == 0 && alias("out@b.org", "joe@b.org") == 0);
    cr_assert(directory_account_get(d, ids[2], &arena, &got, &err) == 0);

    static const struct {
        const char *text, *want;
    } cases[] = {
        {"joe@b.org", "0:"},
        {"JOE+Lists/a@B.ORG", "0:Lists/a"},
        {"sales@b.org", "0: 1:"},
        {"sales+x@b.org", "0:x 1:x"},
        {"all@b.org", "2: 0: 1:"},
        {"ann+boss@b.org", "2:from-ann"},
        {"ann+other@b.org", "1:other"},
        {"loop1@b.org", "0:"},
        {"own@b.org", "notfound"},
        {"gone@b.org", "notfound"},
        {"nobody@b.org", "notfound"},
        {"joe@foreign.org", "notfound"},
        {"not an address", "invalid"},
        {"out@b.org", "noperm"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_str_eq(resolve(cases[i].text, ids, 3, 0), cases[i].want);
    cr_expect_str_eq(resolve("out@b.org", ids, 3, RESOLVE_FOREIGN), "x@foreign.org 0:");

    got.status = ACCOUNT_DISABLED;
    cr_assert(directory_account_update(d, &got, &err) == 0);
    cr_expect_str_eq(resolve("bob@b.org", ids, 3, 0), "noperm");
    cr_expect_str_eq(resolve("all@b.org", ids, 3, 0), "0: 1:");
    cr_assert(alias("@b.org", "ann@b.org") == 0);
    cr_expect_str_eq(resolve("who+ever@b.org", ids, 3, 0), "1:");
    cr_expect_str_eq(resolve("bob@b.org", ids, 3, 0), "noperm", "no catch-all for the disabled");
}

Test(directory, aliases_are_bounded_in_depth_and_number)
{
    uint64_t id = add("joe@b.org");
    char from[32], to[32];

    for (int i = 0; i < DIRECTORY_DEPTH_MAX + 2; i++) {
        snprintf(from, sizeof from, "a%d@b.org", i + 1);
        snprintf(to, sizeof to, i ? "a%d@b.org" : "joe@b.org", i);
        cr_assert(alias(from, to) == 0);
    }
    cr_expect_str_eq(resolve("a10@b.org", &id, 1, 0), "0:");
    cr_expect_str_eq(resolve("a12@b.org", &id, 1, 0), "limit");

    for (int i = 0; i < 3; i++) {
        struct slice targets[400];

        for (int k = 0; k < 400; k++)
            targets[k] = slice_str(arena_printf(&arena, "t%d@b.org", i * 400 + k));
        cr_expect(directory_alias_add(d, S("many@b.org"), targets, 400, &err) ==
                  (i < 2 ? 0 : -ERR_LIMIT));
        snprintf(from, sizeof from, "many%d@b.org", i);
        cr_assert(directory_alias_add(d, slice_str(from), targets, 400, &err) == 0);
        cr_assert(alias("every@b.org", from) == 0);
    }
    cr_expect_str_eq(resolve("every@b.org", &id, 1, 0), "limit");
}

Test(directory, aliases_are_taken_apart)
{
    struct slice targets[] = {S("x@b.org"), S("y+Box@b.org"), S("z@foreign.org")};
    struct directory_alias *list;
    size_t n;

    cr_assert(directory_alias_add(d, S("a@b.org"), targets, 3, &err) == 0);
    cr_assert(directory_alias_add(d, S("A@b.org"), targets, 2, &err) == 0, "they are there");
    cr_assert(directory_address_list(d, "", 10, &arena, &list, &n, &err) == 0);
    cr_assert(n == 1 && list[0].targets_n == 3 && list[0].account == 0);
    cr_expect_str_eq(list[0].targets[1], "y+Box@b.org");
    cr_expect(directory_alias_delete(d, S("a@b.org"), &targets[1], 1, &err) == 0);
    cr_expect(directory_alias_delete(d, S("a@b.org"), &targets[1], 1, &err) == -ERR_NOTFOUND);
    cr_expect(directory_alias_delete(d, S("a@b.org"), NULL, 0, &err) == 0);
    cr_expect(directory_alias_delete(d, S("a@b.org"), NULL, 0, &err) == -ERR_NOTFOUND);
    cr_assert(directory_address_list(d, "", 10, &arena, &list, &n, &err) == 0);
    cr_expect(n == 0);
    add("joe@b.org");
    cr_expect(directory_alias_delete(d, S("joe@b.org"), NULL, 0, &err) == -ERR_EXISTS);
}

Test(directory, domains)
{
    const char **list;
    size_t n;

    cr_expect(directory_domain_add(d, S("B.org"), &err) == -ERR_EXISTS);
    cr_expect(directory_domain_add(d, S("b org"), &err) == -ERR_INVALID);
    cr_expect(directory_domain_add(d, S("Bücher.example"), &err) == 0);
    cr_assert(directory_domain_list(d, "", 10, &arena, &list, &n, &err) == 0);
    cr_assert(n == 2);
    cr_expect_str_eq(list[1], "xn--bcher-kva.example");
    add("joe@b.org");
    cr_expect(directory_domain_delete(d, S("b.org"), &err) == -ERR_INVALID);
    cr_expect(directory_domain_delete(d, S("bücher.example"), &err) == 0);
    cr_expect(directory_domain_delete(d, S("bücher.example"), &err) == -ERR_NOTFOUND);
}

static void note(void *context, enum directory_fault fault, uint64_t account, const char *address,
                 bool repaired)
{
    buf_printf(context, "%d %s %d;", (int)fault, address, repaired);
}

Test(directory, check_finds_and_repairs_what_a_crash_left)
{
    CLEANUP(buf_done) struct buf told = buf_make(10000);
    uint64_t joe = add("joe@b.org"), ann = add("ann@b.org"), bob = add("bob@b.org");
    struct key8 key = key_account(ann);
    struct slice slice = KEY_SLICE(key);
    CLEANUP(buf_done) struct buf value = buf_make(100);

    cr_assert(directory_check(d, false, note, &told, &err) == 0);
    /* joe: the address was not yet written; ann: the account is not there; bob: half renamed. */
    slice = S("joe@b.org");
    cr_assert(store_delete(store, STORE_ADDRESSES, &slice, 1, &err) == 0);
    slice = KEY_SLICE(key);
    cr_assert(store_delete(store, STORE_ACCOUNTS, &slice, 1, &err) == 0);
    alias_encode(&(struct directory_alias){.account = bob}, &value);
    cr_assert(row_insert(d, STORE_ADDRESSES, S("zoe@b.org"), buf_slice(&value), &err) == 0);

    cr_expect(directory_check(d, false, note, &told, &err) == 3);
    cr_expect(directory_check(d, true, note, &told, &err) == 3);
    buf_reset(&told, 10000);
    cr_expect(directory_check(d, false, note, &told, &err) == 0, "%s", buf_cstr(&told));
    uint64_t ids[] = {joe, ann, bob};
    cr_expect_str_eq(resolve("joe@b.org", ids, 3, 0), "0:");
    cr_expect_str_eq(resolve("ann@b.org", ids, 3, 0), "notfound");
    cr_expect_str_eq(resolve("bob@b.org", ids, 3, 0), "2:");
    cr_expect_str_eq(resolve("zoe@b.org", ids, 3, 0), "notfound");
}

Test(directory, fields_of_a_later_format_are_kept)
{
    CLEANUP(buf_done) struct buf value = buf_make(1000), again = buf_make(1000);
    struct directory_account account = {
        .login = "a@b.org",
        .status = ACCOUNT_ENABLED,
        .scram = "s",
        .created_ms = 5,
        .refused = AUTH_POP3,
        .app_passwords = (struct directory_app_password[]){{"phone", AUTH_IMAP, 3, 4, {1, 2}}},
        .app_passwords_n = 1};
    struct directory_account got;

    account_encode(&account, &value);
    buf_add_varint(&value, 999);
    buf_add_string(&value, S("from the future"));
    buf_add_varint(&value, 12);
    buf_add_string(&value, S("\2 an app password of a later version, whatever is in it, as it is"));
    cr_assert(account_decode(buf_slice(&value), &arena, &got, &err) == 0);
    cr_expect(got.refused == AUTH_POP3 && got.app_passwords_n == 1);
    cr_expect_str_eq(got.app_passwords[0].name, "phone");
    cr_expect(memcmp(&got.app_passwords[0].services, &account.app_passwords[0].services,
                     sizeof got.app_passwords[0] - sizeof got.app_passwords[0].name) == 0);
    account_encode(&got, &again);
    cr_expect(slice_eq(buf_slice(&value), buf_slice(&again)));
    /* No cut of it is read as something else. */
    for (size_t n = 0; n < value.n; n++)
        if (account_decode(slice_of(value.p, n), &arena, &got, &err) == 0)
            cr_expect_str_eq(got.login, "a@b.org");
}

static enum fault answer_late(void *ctx, const char *verb, enum store_table table)
{
    (void)table;
    return *(bool *)ctx && strcmp(verb, "get") == 0 ? FAULT_LATE : FAULT_NONE;
}

/* Right after an election a primary may answer from before; who deletes must not believe it. */
Test(directory, who_must_know_is_not_told_from_before_that_an_account_is_not_there)
{
    bool late = false;
    struct fault_plan plan = {.hook = answer_late, .ctx = &late};
    struct store *slow = store_faulty_new(store, &plan);
    struct directory_options options = {.delimiter = '+'};
    struct directory *trusting, *sure;
    struct directory_account got = {0};

    trusting = directory_new(slow, &options);
    options.proves_absence = true;
    sure = directory_new(slow, &options);
    cr_assert_eq(directory_account_find(sure, S("x@b.org"), &arena, &got, &err), -ERR_NOTFOUND);
    add("x@b.org");
    late = true;
    cr_expect_eq(directory_account_find(trusting, S("x@b.org"), &arena, &got, &err), -ERR_NOTFOUND,
                 "the store is not as this test needs it");
    cr_expect_eq(directory_account_find(sure, S("x@b.org"), &arena, &got, &err), 0, "%s", err.text);
    directory_free(trusting);
    directory_free(sure);
    store_close(slow);
}

Test(directory, the_secret_is_one_for_all)
{
    struct directory_options options = {.delimiter = '+'};
    struct directory *other = directory_new(store, &options);
    uint8_t a[32] = {0}, b[32] = {1};

    cr_assert(directory_secret(d, a, &err) == 0 && directory_secret(other, b, &err) == 0);
    cr_expect(memcmp(a, b, 32) == 0);
    directory_free(other);
}
