/* SPDX-License-Identifier: MPL-2.0 */
#include <stdio.h>
#include <string.h>

#include "daemons/cmd.h"
#include "lib/base/mem.h"

#define PAGE 500

static struct slice *slices_of(struct cmd *c, int argc, char **argv)
{
    struct slice *s = arena_array(&c->arena, (size_t)argc, sizeof *s);

    for (int i = 0; i < argc; i++)
        s[i] = slice_str(argv[i]);
    return s;
}

/* ---- aliases ---- */

static int run_alias_add(struct cmd *c, int argc, char **argv)
{
    int r = cmd_open_directory(c);

    if (r != 0)
        return r;
    r = directory_alias_add(c->directory, slice_str(argv[0]), slices_of(c, argc - 1, argv + 1),
                            (size_t)argc - 1, &c->error);
    return r < 0 ? cmd_fail(c, argv[0]) : CMD_OK;
}

static int run_alias_delete(struct cmd *c, int argc, char **argv)
{
    int r = cmd_open_directory(c);

    if (r != 0)
        return r;
    r = directory_alias_delete(c->directory, slice_str(argv[0]), slices_of(c, argc - 1, argv + 1),
                               (size_t)argc - 1, &c->error);
    return r < 0 ? cmd_fail(c, argv[0]) : CMD_OK;
}

static void put_alias(struct cmd *c, const struct directory_alias *alias)
{
    if (c->json) {
        json_t *targets = json_array();

        for (size_t i = 0; i < alias->targets_n; i++)
            json_array_append_new(targets, json_string(alias->targets[i]));
        cmd_put_json(json_pack("{s:s, s:o}", "address", alias->address, "targets", targets));
        return;
    }
    printf("%s", alias->address);
    for (size_t i = 0; i < alias->targets_n; i++)
        printf("%c%s", i ? ' ' : '\t', alias->targets[i]);
    printf("\n");
}

static int run_alias_list(struct cmd *c, int argc, char **argv)
{
    const char *after = "";
    struct arena last = {0};
    int r = cmd_open_directory(c);

    while (r == 0) {
        CLEANUP(arena_done) struct arena a = {0};
        struct directory_alias *list;
        size_t n;

        if (directory_address_list(c->directory, after, PAGE, &a, &list, &n, &c->error) < 0)
            r = cmd_fail(c, NULL);
        if (r != 0 || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            if (list[i].account == 0)
                put_alias(c, &list[i]);
        arena_reset(&last);
        after = arena_str(&last, slice_str(list[n - 1].address));
    }
    arena_done(&last);
    return r;
}

const struct command cmd_alias_add = {
    .name = "alias add",
    .usage = "[OPTION...] ADDRESS TARGET...",
    .brief = "let mail for an address go to others",
    .help =
        "Mail for ADDRESS goes to every TARGET: logins or other aliases. More targets may be "
        "added later. @DOMAIN as ADDRESS is the catch-all of a domain: all mail for addresses "
        "in it that do not exist. A detail behind the delimiter (user+detail) goes on to the "
        "targets; an address with detail may be an alias of its own.\n"
        "Targets in other domains get what users here send to the address; what comes by LMTP for "
        "such an address is refused.",
    .min_args = 2,
    .max_args = DIRECTORY_TARGETS_MAX,
    .run = run_alias_add,
};

const struct command cmd_alias_list = {
    .name = "alias list",
    .usage = "[OPTION...]",
    .brief = "list all aliases",
    .help = "Writes a line for each alias: address, a tab, targets separated by spaces.",
    .json = true,
    .run = run_alias_list,
};

const struct command cmd_alias_delete = {
    .name = "alias delete",
    .usage = "[OPTION...] ADDRESS [TARGET...]",
    .brief = "remove an alias, or some of its targets",
    .help = "Removes the TARGETs from the alias; without any, the whole alias.",
    .min_args = 1,
    .max_args = DIRECTORY_TARGETS_MAX,
    .run = run_alias_delete,
};

/* ---- domains ---- */

static int run_domains(struct cmd *c, int argc, char **argv,
                       int (*change)(struct directory *d, struct slice domain, struct error *err))
{
    int code = cmd_open_directory(c);

    for (int i = 0; code == 0 && i < argc; i++)
        if (change(c->directory, slice_str(argv[i]), &c->error) < 0)
            code = cmd_fail(c, argv[i]);
    return code;
}

static int run_domain_add(struct cmd *c, int argc, char **argv)
{
    return run_domains(c, argc, argv, directory_domain_add);
}

static int run_domain_delete(struct cmd *c, int argc, char **argv)
{
    return run_domains(c, argc, argv, directory_domain_delete);
}

static int run_domain_list(struct cmd *c, int argc, char **argv)
{
    const char *after = "";
    int r = cmd_open_directory(c);

    while (r == 0) {
        const char **list;
        size_t n;

        if (directory_domain_list(c->directory, after, PAGE, &c->arena, &list, &n, &c->error) < 0)
            return cmd_fail(c, NULL);
        if (n == 0)
            break;
        for (size_t i = 0; i < n; i++) {
            if (c->json)
                cmd_put_json(json_pack("{s:s}", "domain", list[i]));
            else
                printf("%s\n", list[i]);
        }
        after = list[n - 1];
    }
    return r;
}

const struct command cmd_domain_add = {
    .name = "domain add",
    .usage = "[OPTION...] DOMAIN...",
    .brief = "take mail for a domain",
    .help = "Makes domains ours: accounts and aliases can then be made in them.",
    .min_args = 1,
    .max_args = -1,
    .run = run_domain_add,
};

const struct command cmd_domain_list = {
    .name = "domain list",
    .usage = "[OPTION...]",
    .brief = "list our domains",
    .help = "Writes our domains, one a line, as A-labels (xn--...).",
    .json = true,
    .run = run_domain_list,
};

const struct command cmd_domain_delete = {
    .name = "domain delete",
    .usage = "[OPTION...] DOMAIN...",
    .brief = "take no more mail for a domain",
    .help = "Removes domains. Refused while there are accounts or aliases in them.",
    .min_args = 1,
    .max_args = -1,
    .run = run_domain_delete,
};
