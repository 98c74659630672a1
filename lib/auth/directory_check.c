/* SPDX-License-Identifier: MPL-2.0 */
/* The directory's part of fsck: what a crash between two steps left, found and put right. */
#include <string.h>

#include "lib/auth/directory_impl.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"

#define PAGE 500

struct check {
    struct directory *d;
    bool repair;
    void (*tell)(void *context, enum directory_fault fault, uint64_t account, const char *address,
                 bool repaired);
    void *context;
    int faults;
};

static void fault(struct check *c, enum directory_fault what, uint64_t account, const char *address,
                  int repaired)
{
    c->faults++;
    c->tell(c->context, what, account, address, c->repair && repaired == 0);
}

/* Gives an account its address back if nobody has it. */
static int publish(struct check *c, const struct directory_account *account)
{
    CLEANUP(buf_done) struct buf value = buf_make(64);

    alias_encode(&(struct directory_alias){.account = account->id}, &value);
    return row_insert(c->d, STORE_ADDRESSES, slice_str(account->login), buf_slice(&value), NULL);
}

static int remove_row(struct check *c, const struct directory_alias *row)
{
    return row_remove(c->d, STORE_ADDRESSES, slice_str(row->address), row->version, NULL);
}

static int check_account(struct check *c, uint64_t id, struct slice value, struct arena *a,
                         struct error *err)
{
    struct directory_account account;
    struct directory_alias row = {0};
    int r;

    if (account_decode(value, a, &account, NULL) < 0) {
        fault(c, DIRECTORY_DAMAGED, id, "", -1);
        return 0;
    }
    account.id = id;
    r = address_row(c->d, account.login, a, &row, err);
    if (r == -ERR_INTERNAL)
        return 0; /* the walk over the addresses tells it */
    if (r < 0)
        return r;
    if (account.status != ACCOUNT_CLOSING && row.account != id)
        fault(c, DIRECTORY_UNREACHABLE, id, account.login, c->repair ? publish(c, &account) : -1);
    if (account.status == ACCOUNT_CLOSING && row.account == id)
        fault(c, DIRECTORY_CLOSING_ADDRESS, id, account.login,
              c->repair ? remove_row(c, &row) : -1);
    return 0;
}

static int check_accounts(struct check *c, struct error *err)
{
    struct key8 last = {{0}}; /* id 0 is the secret's */

    for (;;) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        CLEANUP(arena_done) struct arena a = {0};
        int r = row_range(c->d, STORE_ACCOUNTS, KEY_SLICE(last), PAGE, &docs, err);

        if (r < 0 || docs.n == 0)
            return r;
        for (size_t i = 0; r == 0 && i < docs.n; i++) {
            last = key_account(get_be64(docs.items[i].key.p));
            r = check_account(c, get_be64(last.b), docs.items[i].head, &a, err);
        }
        if (r < 0)
            return r;
    }
}

static int check_address(struct check *c, const char *key, const struct store_doc *doc,
                         struct arena *a, struct error *err)
{
    struct directory_account account;
    struct directory_alias row;
    int r;

    if (alias_decode(doc->head, a, &row, NULL) < 0) {
        fault(c, DIRECTORY_DAMAGED, 0, key, -1);
        return 0;
    }
    if (row.account == 0)
        return 0;
    row.address = key;
    row.version = doc->version;
    r = directory_account_get(c->d, row.account, a, &account, err);
    if (r == -ERR_NOTFOUND) {
        fault(c, DIRECTORY_DANGLING, row.account, key, c->repair ? remove_row(c, &row) : -1);
        return 0;
    }
    if (r == -ERR_INTERNAL)
        return 0;
    if (r == 0 && strcmp(account.login, key) != 0)
        fault(c, DIRECTORY_SECOND_ADDRESS, row.account, key, c->repair ? remove_row(c, &row) : -1);
    return r;
}

static int check_addresses(struct check *c, struct error *err)
{
    CLEANUP(arena_done) struct arena last = {0};
    const char *after = "";

    for (;;) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        CLEANUP(arena_done) struct arena a = {0};
        int r = row_range(c->d, STORE_ADDRESSES, slice_str(after), PAGE, &docs, err);

        if (r < 0 || docs.n == 0)
            return r;
        for (size_t i = 0; r == 0 && i < docs.n; i++)
            r = check_address(c, arena_str(&a, docs.items[i].key), &docs.items[i], &a, err);
        if (r < 0)
            return r;
        arena_reset(&last);
        after = arena_str(&last, docs.items[docs.n - 1].key);
    }
}

int directory_check(struct directory *d, bool repair,
                    void (*tell)(void *context, enum directory_fault fault, uint64_t account,
                                 const char *address, bool repaired),
                    void *context, struct error *err)
{
    struct check c = {.d = d, .repair = repair, .tell = tell, .context = context};
    int r = check_accounts(&c, err);

    if (r == 0)
        r = check_addresses(&c, err);
    return r < 0 ? r : c.faults;
}
