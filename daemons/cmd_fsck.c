/* SPDX-License-Identifier: MPL-2.0 */
/* eider fsck: does what is stored of an account agree with itself? (lib/mail/fsck.h) */
#include <stdio.h>

#include "daemons/cmd.h"
#include "lib/base/mem.h"
#include "lib/mail/fsck.h"
#include "lib/mail/sweep.h"

enum { OPT_ALL = 'a', OPT_REPAIR = 'r', OPT_QUICK = 'q' };

static const struct cmd_option options[] = {
    {OPT_ALL, "all", NULL, "every account that has anything in the store"},
    {OPT_REPAIR, "repair", NULL, "mend what can be mended without losing anything"},
    {OPT_QUICK, "quick", NULL, "do not read every message back"},
    {0}};

struct check {
    struct cmd *c;
    struct fsck_options options;
    struct fsck_result total;
    uint64_t accounts;
    int worst; /* exit code */
};

static void found(void *ctx, uint64_t account, const char *what, struct slice text, bool repaired)
{
    struct check *k = ctx;
    json_t *o;

    if (!k->c->json) {
        printf("%s: %s: %.*s%s\n", cmd_id_text(&k->c->arena, account), what, SLICE_FMT(text),
               repaired ? " (repaired)" : "");
        return;
    }
    o = json_object();
    json_object_set_new(o, "account", json_string(cmd_id_text(&k->c->arena, account)));
    json_object_set_new(o, "problem", json_string(what));
    json_object_set_new(o, "text", json_stringn_nocheck((const char *)text.p, text.n));
    json_object_set_new(o, "repaired", json_boolean(repaired));
    cmd_put_json(o);
}

static void check_one(struct check *k, uint64_t account)
{
    struct fsck_result r = {0};
    int code = fsck_account(k->c->mail, account, &k->options, &r, &k->c->error);

    k->accounts++;
    k->total.records += r.records;
    k->total.mailboxes += r.mailboxes;
    k->total.messages += r.messages;
    k->total.bytes += r.bytes;
    k->total.orphans += r.orphans;
    k->total.problems += r.problems;
    k->total.repaired += r.repaired;
    if (code < 0)
        k->worst = cmd_fail(k->c, cmd_id_text(&k->c->arena, account));
}

static void check_every(struct check *k)
{
    uint64_t account = 0;
    int r;

    while ((r = sweep_next_account(k->c->mail, account, &account, &k->c->error)) == 0)
        check_one(k, account);
    if (r != -ERR_NOTFOUND)
        k->worst = cmd_fail(k->c, NULL);
}

static void directory_fault(void *ctx, enum directory_fault fault, uint64_t account,
                            const char *address, bool repaired)
{
    static const char *const names[] = {
        [DIRECTORY_UNREACHABLE] = "login address does not lead to the account",
        [DIRECTORY_DANGLING] = "address of an account that is not there",
        [DIRECTORY_SECOND_ADDRESS] = "login address that is not the account's any more",
        [DIRECTORY_CLOSING_ADDRESS] = "address of a deleted account",
        [DIRECTORY_DAMAGED] = "entry of the directory that cannot be read",
    };
    struct check *k = ctx;

    k->total.problems++;
    k->total.repaired += repaired;
    found(ctx, account, names[fault], slice_str(address ? address : ""), repaired);
}

static void check_directory(struct check *k)
{
    if (directory_check(k->c->directory, k->options.repair, directory_fault, k, &k->c->error) < 0)
        k->worst = cmd_fail(k->c, "directory");
}

static void summary(const struct check *k)
{
    const struct fsck_result *t = &k->total;

    if (k->c->json) {
        cmd_put_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "accounts",
                               (json_int_t)k->accounts, "mailboxes", (json_int_t)t->mailboxes,
                               "messages", (json_int_t)t->messages, "bytes", (json_int_t)t->bytes,
                               "orphans", (json_int_t)t->orphans, "problems",
                               (json_int_t)t->problems, "repaired", (json_int_t)t->repaired));
        return;
    }
    printf("%llu accounts, %llu mailboxes, %llu messages, %s; %llu stored messages that nobody "
           "names (the sweep removes them)\n",
           (unsigned long long)k->accounts, (unsigned long long)t->mailboxes,
           (unsigned long long)t->messages, cmd_human_size(&k->c->arena, t->bytes),
           (unsigned long long)t->orphans);
    if (t->problems)
        printf("%llu problems, %llu of them repaired\n", (unsigned long long)t->problems,
               (unsigned long long)t->repaired);
    else
        printf("clean\n");
}

static int run(struct cmd *c, int argc, char **argv)
{
    struct check k = {.c = c};
    bool all = cmd_option(c, OPT_ALL, NULL);
    int r;

    if (all == (argc > 0))
        return cmd_usage_error(c, "give logins, or --all");
    if ((r = cmd_open_mail(c)))
        return r;
    k.options = (struct fsck_options){.contents = !cmd_option(c, OPT_QUICK, NULL),
                                      .repair = cmd_option(c, OPT_REPAIR, NULL),
                                      .found = found,
                                      .ctx = &k};
    if (all) {
        check_every(&k);
        check_directory(&k);
    }
    for (int i = 0; i < argc; i++) {
        struct directory_account account;

        if ((r = cmd_find_account(c, argv[i], &account)))
            k.worst = r;
        else
            check_one(&k, account.id);
    }
    if (all || k.accounts)
        summary(&k);
    if (k.worst)
        return k.worst;
    return k.total.problems > k.total.repaired ? CMD_SOFTWARE : CMD_OK;
}

const struct command cmd_fsck = {
    .name = "fsck",
    .usage = "[OPTION...] {LOGIN... | --all}",
    .brief = "check what is stored of an account",
    .help = "Folds the log again, compares it with the snapshot and the counters, reads every "
            "message back and checks its hashes, and looks for messages that nobody names; with "
            "--all also whether addresses and accounts agree. Can be run while servers run; an "
            "account that is being made at the moment may look unfinished.\n"
            "Exit code 70 means that problems were found and are still there.",
    .options = options,
    .json = true,
    .min_args = 0,
    .max_args = -1,
    .run = run,
};
