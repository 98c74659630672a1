/* SPDX-License-Identifier: MPL-2.0 */
/* Recipients remembered for stores across the network: a memory store stands in for one. */
#include <criterion/criterion.h>

#include "lib/auth/directory.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

struct rig {
    struct store *store;
    struct directory *here, *elsewhere; /* two processes */
    struct arena arena;
};

static void rig_init(struct rig *r)
{
    struct directory_options options = {.delimiter = '+'};
    struct directory_account anna = {.login = "anna@example.org",
                                     .status = ACCOUNT_ENABLED,
                                     .display = "",
                                     .hash = "",
                                     .scram = ""};
    uint64_t id;

    cr_assert_eq(store_open("memory:?atomic=0", NULL, &r->store, NULL), 0);
    r->here = directory_new(r->store, &options);
    r->elsewhere = directory_new(r->store, &options);
    cr_assert_eq(directory_domain_add(r->here, S("example.org"), NULL), 0);
    cr_assert_eq(directory_account_add(r->here, &anna, NULL, NULL, &id, NULL), 0);
    cr_assert_eq(
        directory_alias_add(r->here, S("info@example.org"), &S("anna@example.org"), 1, NULL), 0);
}

static void rig_done(struct rig *r)
{
    directory_free(r->here);
    directory_free(r->elsewhere);
    store_close(r->store);
    arena_done(&r->arena);
}

static int resolve(struct rig *r, const char *address)
{
    struct directory_recipient *found;
    size_t n;
    int res = directory_resolve(r->here, slice_str(address), 0, &r->arena, &found, &n, NULL);

    cr_assert(res < 0 || (n == 1 && strcmp(found[0].login, "anna@example.org") == 0));
    return res;
}

Test(directory_cache, a_second_answer_costs_no_read)
{
    struct rig r = {0};
    uint64_t trips;

    rig_init(&r);
    cr_assert_eq(resolve(&r, "info@example.org"), 0);
    trips = store_trips();
    cr_assert_eq(resolve(&r, "info@example.org"), 0);
    cr_assert_eq(store_trips(), trips);
    cr_assert_eq(resolve(&r, "info+x@example.org"), 0);
    cr_assert_gt(store_trips(), trips);
    rig_done(&r);
}

Test(directory_cache, own_changes_count_at_once)
{
    struct rig r = {0};

    rig_init(&r);
    cr_assert_eq(resolve(&r, "info@example.org"), 0);
    cr_assert_eq(directory_alias_delete(r.here, S("info@example.org"), NULL, 0, NULL), 0);
    cr_assert_eq(resolve(&r, "info@example.org"), -ERR_NOTFOUND);
    rig_done(&r);
}

Test(directory_cache, refusals_are_not_remembered)
{
    struct rig r = {0};

    rig_init(&r);
    cr_assert_eq(resolve(&r, "sales@example.org"), -ERR_NOTFOUND);
    cr_assert_eq(
        directory_alias_add(r.elsewhere, S("sales@example.org"), &S("anna@example.org"), 1, NULL),
        0);
    cr_assert_eq(resolve(&r, "sales@example.org"), 0);
    rig_done(&r);
}
