/* SPDX-License-Identifier: MPL-2.0 */
/* GETQUOTA, GETQUOTAROOT, SETQUOTA: RFC 9208 (and RFC 2087).
 *
 * There is one quota root for each account; its name is the account's login. Usage is what every
 * record carries, so it is exact (I26). STORAGE is the sum of RFC822.SIZE in units of 1024 octets,
 * rounded up, of live messages. Of MAILBOX there is always a limit: the server's, if not a lower
 * one of the account.
 *
 * Everybody may read his own quota. Those of others, and changes, are for accounts with the admin
 * flag (eider account set --admin).
 */
#include <inttypes.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

#define KIB UINT64_C(1024)

static uint64_t bytes(const struct state *st)
{
    return st->used_bytes;
}

static uint64_t messages(const struct state *st)
{
    return st->used_messages;
}

static uint64_t mailboxes(const struct state *st)
{
    return st->n_mailboxes;
}

static const struct resource {
    const char *name, *key;
    uint64_t unit;
    uint64_t (*usage)(const struct state *st);
} resources[] = {
    {"STORAGE", VALUE_QUOTA_BYTES, KIB, bytes},
    {"MESSAGE", VALUE_QUOTA_MESSAGES, 1, messages},
    {"MAILBOX", VALUE_QUOTA_MAILBOXES, 1, mailboxes},
};

static uint64_t in_units(uint64_t n, uint64_t unit)
{
    return n / unit + (n % unit != 0);
}

/* False: there is no limit, and RFC 9208 section 4.2.1 wants it left out. */
static bool limit_of(const struct imap *im, const struct state *st, const struct resource *res,
                     uint64_t *ret)
{
    uint64_t inherent = mail_settings(im->service->mail)->mailboxes_max;
    bool limited = slice_to_u64(state_value(st, slice_str(res->key)), UINT64_MAX, ret);

    if (res->usage != mailboxes)
        return limited;
    *ret = limited ? MIN(*ret, inherent) : inherent;
    return true;
}

static void write_quota(struct imap *im, struct slice root, const struct state *st)
{
    struct buf *out = &im->s.out;
    bool first = true;

    buf_add_str(out, "* QUOTA ");
    imap_write_string(out, root);
    buf_add_str(out, " (");
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        const struct resource *res = &resources[i];
        uint64_t limit;

        if (!limit_of(im, st, res, &limit))
            continue;
        buf_printf(out, "%s%s %" PRIu64 " %" PRIu64, first ? "" : " ", res->name,
                   in_units(res->usage(st), res->unit), in_units(limit, res->unit));
        first = false;
    }
    buf_add_str(out, ")\r\n");
}

/* --- roots -------------------------------------------------------------------------------------
 */

/* The account that a root is of; a reference. *ret_root: its name as we write it, the arena's. */
static int open_root(struct imap *im, struct command *cmd, struct slice name,
                     struct account **ret_account, struct slice *ret_root)
{
    struct slice own = slice_str(im->user.login);
    struct directory_account found;
    int r;

    if (slice_ieq(name, own)) {
        *ret_root = own;
        *ret_account = account_ref(im->account);
        return 0;
    }
    /* section 8: "The resource usage of other users is likely to be considered confidential" */
    if (!im->user.admin)
        return imap_no(cmd, "NOPERM", "Not a quota root of this account");
    r = directory_account_find(auth_directory(im->service->auth), name, &cmd->arena, &found,
                               &cmd->err);
    if (r == 0)
        r = account_open(im->service->mail, found.id, ret_account, &cmd->err);
    if (r == -ERR_NOTFOUND)
        return imap_no(cmd, "NONEXISTENT", "There is no such quota root");
    if (r == 0)
        *ret_root = slice_str(found.login);
    return r;
}

static int show(struct imap *im, struct command *cmd, struct account *account, struct slice root)
{
    struct state *st;
    int r = account_refresh(account, &st, &cmd->err);

    if (r < 0)
        return r;
    write_quota(im, root, st);
    state_unref(st);
    return 0;
}

int cmd_getquota(struct imap *im, struct command *cmd)
{
    struct account *account;
    struct slice root;
    int r = open_root(im, cmd, cmd->parsed.args[0].text, &account, &root);

    if (r < 0)
        return r;
    r = show(im, cmd, account, root);
    account_unref(account);
    return r;
}

/* Section 4.1.2: "the mailbox name parameter doesn't have to reference an existing mailbox" */
int cmd_getquotaroot(struct imap *im, struct command *cmd)
{
    struct slice root = slice_str(im->user.login);
    struct buf *out = &im->s.out;
    size_t before = out->n;
    int r;

    buf_add_str(out, "* QUOTAROOT ");
    imap_write_mailbox(im, out, cmd->parsed.args[0].text);
    buf_add_byte(out, ' ');
    imap_write_string(out, root);
    buf_add_str(out, "\r\n");
    r = show(im, cmd, im->account, root);
    if (r < 0)
        out->n = before;
    return r;
}

/* --- SETQUOTA ----------------------------------------------------------------------------------
 */

struct limits {
    bool given[ARRAY_LEN(resources)];
    uint64_t value[ARRAY_LEN(resources)];
};

static int take_limit(struct command *cmd, const struct arg *pair, struct limits *l)
{
    struct slice name = pair->items[0].text;
    uint64_t value = pair->items[1].number;

    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        if (!slice_ieq(name, slice_str(resources[i].name)))
            continue;
        if (value > INT64_MAX / resources[i].unit)
            return imap_no(cmd, "LIMIT", "A limit is too high");
        l->given[i] = true;
        l->value[i] = value * resources[i].unit;
        return 0;
    }
    return imap_no(cmd, "CANNOT", "There is no limit of %.*s here", SLICE_FMT(name));
}

/* Section 4.1.3: "Any previous resource limits for the named quota root are discarded, even
 * resource limits not explicitly listed in the SETQUOTA command." In one record. */
static int set_limits(struct imap *im, struct command *cmd, struct account *account,
                      const struct limits *l)
{
    struct intent intents[ARRAY_LEN(resources)] = {0}, *list[ARRAY_LEN(resources)];
    size_t n = ARRAY_LEN(resources);
    int r;

    for (size_t i = 0; i < n; i++) {
        intents[i].kind = INTENT_ACCOUNT;
        intents[i].account = account;
        intents[i].key = slice_str(resources[i].key);
        if (l->given[i])
            intents[i].value = slice_str(arena_printf(&cmd->arena, "%" PRIu64, l->value[i]));
        intents[i].in_one_record_with_next = i + 1 < n;
        list[i] = &intents[i];
    }
    mail_commit(im->service->mail, list, n);
    r = intents[0].result;
    if (r < 0)
        cmd->err = intents[0].error;
    for (size_t i = 0; i < n; i++)
        intent_done(&intents[i]);
    return r;
}

int cmd_setquota(struct imap *im, struct command *cmd)
{
    const struct arg *pairs = &cmd->parsed.args[1].items[0];
    struct limits l = {0};
    struct account *account;
    struct slice root;
    int r = 0;

    if (!im->user.admin)
        return imap_no(cmd, "NOPERM", "Quotas are set by administrators");
    for (size_t i = 0; i < pairs->n && r == 0; i++)
        r = take_limit(cmd, &pairs->items[i], &l);
    if (r == 0)
        r = open_root(im, cmd, cmd->parsed.args[0].text, &account, &root);
    if (r < 0)
        return r;
    r = set_limits(im, cmd, account, &l);
    if (r == 0)
        r = show(im, cmd, account, root);
    account_unref(account);
    return r;
}
