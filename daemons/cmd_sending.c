/* SPDX-License-Identifier: MPL-2.0 */
/* account sending, domain set: what accounts may send, and where it goes. */
#include <stdio.h>
#include <string.h>

#include "daemons/cmd.h"
#include "lib/base/mem.h"

/* ---- account sending ---- */

struct sending {
    bool has_sandbox, sandbox, has_save, has_messages, has_recipients;
    enum directory_choice save;
    uint64_t messages, recipients;
    const char *senders; /* NULL: as it is */
};

static const char *choice_name(enum directory_choice choice)
{
    return choice == DIRECTORY_YES ? "yes" : choice == DIRECTORY_NO ? "no" : "default";
}

static int change_sending(struct cmd *c, struct directory_account *account, const void *context)
{
    const struct sending *s = context;

    if (s->has_sandbox)
        account->sandbox = s->sandbox;
    if (s->has_save)
        account->save_sent = s->save;
    if (s->has_messages)
        account->send_messages = (unsigned)s->messages;
    if (s->has_recipients)
        account->send_recipients = (unsigned)s->recipients;
    if (s->senders)
        return directory_senders_parse(c->directory, slice_str(s->senders), &c->arena,
                                       &account->senders, &c->error);
    return 0;
}

static int read_save(struct cmd *c, struct sending *s)
{
    const char *text;

    s->has_save = cmd_option(c, 'v', &text);
    if (!s->has_save)
        return 0;
    for (int i = DIRECTORY_AS_SERVER; i <= DIRECTORY_NO; i++)
        if (strcmp(text, choice_name((enum directory_choice)i)) == 0) {
            s->save = (enum directory_choice)i;
            return 0;
        }
    return cmd_usage_error(c, "\"%s\" is not yes, no or default", text);
}

static int read_number(struct cmd *c, int letter, bool *ret_given, uint64_t *ret)
{
    const char *text;

    *ret_given = cmd_option(c, letter, &text);
    if (*ret_given && !slice_to_u64(slice_str(text), 100000000, ret))
        return cmd_usage_error(c, "\"%s\" is no number", text);
    return 0;
}

static int read_sending(struct cmd *c, struct sending *s)
{
    int r = read_save(c, s);

    s->sandbox = cmd_option(c, 'S', NULL);
    s->has_sandbox = s->sandbox || cmd_option(c, 'N', NULL);
    if (r == 0)
        r = read_number(c, 'm', &s->has_messages, &s->messages);
    if (r == 0)
        r = read_number(c, 'r', &s->has_recipients, &s->recipients);
    cmd_option(c, 'f', &s->senders);
    return r;
}

static void show_limit(const char *name, unsigned n)
{
    if (n)
        printf("%s %u an hour\n", name, n);
    else
        printf("%s as for all\n", name);
}

static int show_sending(struct cmd *c, const char *login)
{
    struct directory_account a;
    int r = cmd_find_account(c, login, &a);

    if (r != 0)
        return r;
    if (c->json) {
        cmd_put_json(json_pack("{s:s, s:b, s:s, s:s, s:i, s:i}", "login", a.login, "sandbox",
                               a.sandbox, "saveSent", choice_name(a.save_sent), "senders",
                               a.senders, "messages", (int)a.send_messages, "recipients",
                               (int)a.send_recipients));
        return CMD_OK;
    }
    printf("login      %s\n", a.login);
    printf("sandbox    %s\n", a.sandbox ? "yes" : "no");
    printf("save sent  %s\n", choice_name(a.save_sent));
    printf("senders    %s\n", *a.senders ? a.senders : "its own addresses");
    show_limit("messages  ", a.send_messages);
    show_limit("recipients", a.send_recipients);
    return CMD_OK;
}

static int run_sending(struct cmd *c, int argc, char **argv)
{
    struct sending s = {0};
    int r = read_sending(c, &s);

    if (r == 0)
        r = cmd_open_directory(c);
    if (r == 0 && c->given_n == 0)
        return show_sending(c, argv[0]);
    return r == 0 ? cmd_change_account(c, argv[0], change_sending, &s) : r;
}

static const struct cmd_option sending_options[] = {
    {'S', "sandbox", NULL, "nothing leaves: all that it sends lies in its own INBOX"},
    {'N', "no-sandbox", NULL, "its mail goes out (the default)"},
    {'v', "save-sent", "CHOICE", "copies of what it sends, in Sent: yes, no or default"},
    {'m', "messages", "NUMBER", "messages in an hour; 0: as for all"},
    {'r', "recipients", "NUMBER", "recipients in an hour; 0: as for all"},
    {'f', "senders", "LIST", "whose mail it may send besides its own, see below; \"\": nobody's"},
    {0}};

const struct command cmd_account_sending = {
    .name = "account sending",
    .usage = "[OPTION...] LOGIN",
    .brief = "show or change what an account may send",
    .help = "Without options it shows what holds for the account; else it changes what the options "
            "say. Takes effect at the account's next login.\n"
            "An account may send in the name of every address that leads to it: its login, its "
            "aliases, both with a detail, and a catch-all. LIST gives it more: addresses, "
            "\"@example.org\" for a whole domain, or \"*\" for all, separated by blanks or commas.",
    .options = sending_options,
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_sending,
};

/* ---- domain set ---- */

#define ROUNDS 8 /* of changes that others overtake */

static int set_domain(struct cmd *c, const char *name, bool sandbox)
{
    struct directory_domain domain;
    const char *key;
    int r = domain_normalise(slice_str(name), &c->arena, &key, &c->error);
    bool again = r == 0;

    for (int i = 0; again && i < ROUNDS; i++) {
        r = directory_domain_get(c->directory, key, &c->arena, &domain, &c->error);
        if (r == 0)
            r = error_set(&c->error, ERR_NOTFOUND, "there is no domain %s", key);
        if (r < 0)
            break;
        domain.sandbox = sandbox;
        r = directory_domain_update(c->directory, key, &domain, &c->error);
        again = r == -ERR_CONFLICT;
    }
    return r < 0 ? cmd_fail(c, name) : CMD_OK;
}

static int run_domain_set(struct cmd *c, int argc, char **argv)
{
    bool sandbox = cmd_option(c, 'S', NULL);
    int r = 0;

    if (sandbox == cmd_option(c, 'N', NULL))
        return cmd_usage_error(c, "--sandbox or --no-sandbox is wanted");
    r = cmd_open_directory(c);
    for (int i = 0; r == 0 && i < argc; i++)
        r = set_domain(c, argv[i], sandbox);
    return r;
}

static const struct cmd_option domain_options[] = {
    {'S', "sandbox", NULL, "what its accounts send lies in their own INBOX, nothing leaves"},
    {'N', "no-sandbox", NULL, "their mail goes out (the default)"},
    {0}};

const struct command cmd_domain_set = {
    .name = "domain set",
    .usage = "OPTION DOMAIN...",
    .brief = "sandbox mode for the accounts of a domain",
    .help = "Takes effect at their next login.",
    .options = domain_options,
    .min_args = 1,
    .max_args = -1,
    .run = run_domain_set,
};
