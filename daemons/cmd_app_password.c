/* SPDX-License-Identifier: MPL-2.0 */
/* account app-password: add, list, delete. */
#include <stdio.h>

#include "daemons/cmd.h"
#include "lib/auth/app_password.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

/* ---- add ---- */

static int put_in(struct cmd *c, struct directory_account *account, const void *context)
{
    return app_password_add(account, context, &c->arena, &c->error);
}

/* 0, or an exit code after having said why. */
static int read_options(struct cmd *c, unsigned *services, int64_t *expires_ms)
{
    const char *text;
    int64_t ms;

    *services = CMD_SERVICES_ALL;
    *expires_ms = 0;
    if (cmd_option(c, 's', &text) && (!cmd_parse_services(text, services) || !*services))
        return cmd_usage_error(c, "\"%s\" is not made of imap, pop3 and smtp", text);
    if (!cmd_option(c, 'e', &text))
        return 0;
    if (!cmd_parse_duration(text, &ms) || ms == 0)
        return cmd_usage_error(c, "\"%s\" is no duration, as 90d or 12h", text);
    *expires_ms = clock_wall_ms() + ms;
    return 0;
}

static int run_add(struct cmd *c, int argc, char **argv)
{
    CLEANUP(buf_done) struct buf text = buf_make(100);
    struct directory_app_password item;
    int64_t expires_ms;
    unsigned services;
    int r = read_options(c, &services, &expires_ms);

    if (r != 0)
        return r;
    app_password_new(argv[1], services, expires_ms, &text, &item);
    r = cmd_change_account(c, argv[0], put_in, &item);
    if (r == 0 && c->json)
        cmd_put_json(json_pack("{s:s, s:s, s:s}", "name", item.name, "for",
                               cmd_services_text(&c->arena, services), "password",
                               buf_cstr(&text)));
    else if (r == 0)
        printf("%s\n", buf_cstr(&text));
    secret_wipe(text.p, text.n);
    return r;
}

static const struct cmd_option add_options[] = {
    {'s', "services", "SERVICES", "what it is for: some of imap,pop3,smtp; all if left out"},
    {'e', "expires", "DURATION", "it ends after so long, as 90d or 12h; never if left out"},
    {0}};

const struct command cmd_app_password_add = {
    .name = "account app-password add",
    .usage = "[OPTION...] LOGIN NAME",
    .brief = "make a password for one program",
    .help = "Makes up a password for one program on one device, and prints it: it is not shown "
            "again. NAME is for people (\"Anna's phone\"), and no two of an account have the same. "
            "It lets in beside the account's own password, to the services that it is for. SCRAM "
            "does not know it: programs use PLAIN or LOGIN, over TLS.",
    .options = add_options,
    .json = true,
    .min_args = 2,
    .max_args = 2,
    .run = run_add,
};

/* ---- list ---- */

static void put_item(struct cmd *c, const struct directory_app_password *item)
{
    const char *services = cmd_services_text(&c->arena, item->services);
    const char *created = cmd_time(&c->arena, item->created_ms);
    const char *expires = item->expires_ms ? cmd_time(&c->arena, item->expires_ms) : NULL;

    if (c->json)
        cmd_put_json(json_pack("{s:s, s:s, s:s, s:s?}", "name", item->name, "for", services,
                               "created", created, "expires", expires));
    else
        printf("%s\t%s\t%s\t%s\n", item->name, services, created, expires ? expires : "never");
}

static int run_list(struct cmd *c, int argc, char **argv)
{
    struct directory_account account;
    int r = cmd_find_account(c, argv[0], &account);

    for (size_t i = 0; r == 0 && i < account.app_passwords_n; i++)
        put_item(c, &account.app_passwords[i]);
    return r;
}

const struct command cmd_app_password_list = {
    .name = "account app-password list",
    .usage = "[OPTION...] LOGIN",
    .brief = "list an account's app passwords",
    .help = "Writes a line for each: name, what it is for, when it was made, when it ends; "
            "separated by tabs.",
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_list,
};

/* ---- delete ---- */

static int take_out(struct cmd *c, struct directory_account *account, const void *context)
{
    return app_password_delete(account, context, &c->arena, &c->error);
}

static int run_delete(struct cmd *c, int argc, char **argv)
{
    return cmd_change_account(c, argv[0], take_out, argv[1]);
}

const struct command cmd_app_password_delete = {
    .name = "account app-password delete",
    .usage = "[OPTION...] LOGIN NAME",
    .brief = "take an app password back",
    .help = "It lets nobody in from now on; sessions that are logged in stay.",
    .min_args = 2,
    .max_args = 2,
    .run = run_delete,
};
