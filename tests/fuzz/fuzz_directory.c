/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses from outside, and the directory's own values damaged: nothing is read beyond its end,
 * and what is normal stays as it is when it is made normal again. */
#include <stdlib.h>
#include <string.h>

#include "lib/auth/directory_impl.h"
#include "lib/auth/password.h"
#include "lib/base/mem.h"

static void check_address(struct slice text)
{
    static const struct directory_options options = {.delimiter = '+', .default_domain = "b.org"};
    CLEANUP(arena_done) struct arena a = {0};
    struct directory *d = directory_new(NULL, &options);
    struct address first, again;

    if (address_parse(d, text, true, &a, &first, NULL) == 0) {
        if (strlen(first.key) > ADDRESS_MAX || strlen(first.full) > ADDRESS_MAX)
            abort();
        /* What needs quotes is no address without them; all else is its own normal form. */
        if (address_parse(d, slice_str(first.full), true, &a, &again, NULL) == 0 &&
            strcmp(again.domain, first.domain) != 0 && strchr(first.user, '@') == NULL)
            abort();
    }
    directory_free(d);
}

static void check_values(struct slice value)
{
    CLEANUP(arena_done) struct arena a = {0};
    CLEANUP(buf_done) struct buf out = buf_make(DIRECTORY_VALUE_MAX * 2);
    struct directory_account account, account_again;
    struct directory_alias alias;

    if (account_decode(value, &a, &account, NULL) == 0) {
        account_encode(&account, &out);
        if (account_decode(buf_slice(&out), &a, &account_again, NULL) < 0 ||
            strcmp(account.login, account_again.login) != 0 ||
            !slice_eq(account.unknown, account_again.unknown))
            abort();
    }
    if (alias_decode(value, &a, &alias, NULL) == 0)
        alias_encode(&alias, &out);
}

static void check_password(struct slice text)
{
    CLEANUP(buf_done) struct buf out = buf_make(65536);
    char *hash = slice_dup(text);

    (void)password_prepare(text, &out, NULL);
    (void)password_hash_known(hash);
    free(hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_of(data, size);

    check_address(all);
    check_values(all);
    check_password(all);
    return 0;
}
