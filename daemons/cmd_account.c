/* SPDX-License-Identifier: MPL-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemons/cmd.h"
#include "daemons/cmd_password.h"
#include "lib/base/mem.h"

#define PAGE      500
#define QUOTA_KEY "quota.bytes"

static const char *status_name(enum account_status status)
{
    static const char *const names[] = {[ACCOUNT_ENABLED] = "enabled",
                                        [ACCOUNT_DISABLED] = "disabled",
                                        [ACCOUNT_CLOSING] = "closing"};

    return names[status];
}

static bool has_scram(const struct directory_account *a)
{
    return *a->scram || *a->scram_sha1;
}

/* ---- account list ---- */

static void put_account(struct cmd *c, const struct directory_account *a, struct arena *scratch)
{
    if (c->json)
        cmd_put_json(json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b}", "login", a->login, "id",
                               cmd_id_text(scratch, a->id), "status", status_name(a->status),
                               "name", a->display, "created", cmd_time(scratch, a->created_ms),
                               "password", *a->hash != '\0', "scram", has_scram(a)));
    else
        printf("%s\t%s\t%s\t%s\n", a->login, status_name(a->status),
               cmd_time(scratch, a->created_ms), a->display);
}

static int run_list(struct cmd *c, int argc, char **argv)
{
    const char *domain = NULL;
    uint64_t after = 0;
    int r = cmd_open_directory(c);

    cmd_option(c, 'd', &domain);
    while (r == 0) {
        CLEANUP(arena_done) struct arena a = {0};
        struct directory_account *list;
        size_t n;

        if (directory_account_list(c->directory, after, PAGE, &a, &list, &n, &c->error) < 0)
            return cmd_fail(c, NULL);
        if (n == 0)
            break;
        for (size_t i = 0; i < n; i++) {
            const char *at = strrchr(list[i].login, '@');

            if (!domain || (at && strcmp(at + 1, domain) == 0))
                put_account(c, &list[i], &a);
        }
        after = list[n - 1].id;
    }
    return r;
}

static const struct cmd_option list_options[] = {
    {'d', "domain", "DOMAIN", "only accounts of this domain"}, {0}};

const struct command cmd_account_list = {
    .name = "account list",
    .usage = "[OPTION...]",
    .brief = "list all accounts",
    .help = "Writes a line for each account: login, status (enabled, disabled, closing), time of "
            "its making, name; separated by tabs, in no meaningful order.",
    .options = list_options,
    .json = true,
    .run = run_list,
};

/* ---- account show ---- */

struct usage {
    uint64_t bytes, messages, quota;
    size_t mailboxes;
    bool known;
};

/* What the log says; an account that is being erased has none any more. */
static int read_usage(struct cmd *c, uint64_t id, struct usage *ret)
{
    struct account *account = NULL;
    struct state *st;
    int r = account_open(c->mail, id, &account, &c->error);

    *ret = (struct usage){0};
    if (r < 0)
        return r == -ERR_NOTFOUND ? 0 : r;
    st = account_state(account);
    *ret = (struct usage){st->used_bytes, st->used_messages, 0, st->n_mailboxes, true};
    if (!slice_to_u64(state_value(st, S(QUOTA_KEY)), UINT64_MAX, &ret->quota))
        ret->quota = 0;
    state_unref(st);
    account_unref(account);
    return 0;
}

static void show_json(struct cmd *c, const struct directory_account *a, const struct usage *u)
{
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:i, s:s, s:i}", "login", a->login,
                  "id", cmd_id_text(&c->arena, a->id), "status", status_name(a->status), "name",
                  a->display, "created", cmd_time(&c->arena, a->created_ms), "password",
                  *a->hash != '\0', "scram", has_scram(a), "admin", a->admin, "messageSize",
                  (json_int_t)a->message_size, "connections", (int)a->connections, "passwordFor",
                  cmd_services_text(&c->arena, ~a->refused & CMD_SERVICES_ALL), "appPasswords",
                  (int)a->app_passwords_n);

    if (u->known)
        json_object_update_new(o, json_pack("{s:I, s:I, s:I, s:I}", "quota", (json_int_t)u->quota,
                                            "usedBytes", (json_int_t)u->bytes, "usedMessages",
                                            (json_int_t)u->messages, "mailboxes",
                                            (json_int_t)u->mailboxes));
    cmd_put_json(o);
}

static void show_text(struct cmd *c, const struct directory_account *a, const struct usage *u)
{
    printf("login        %s\n", a->login);
    printf("id           %s\n", cmd_id_text(&c->arena, a->id));
    printf("status       %s\n", status_name(a->status));
    printf("name         %s\n", a->display);
    printf("created      %s\n", cmd_time(&c->arena, a->created_ms));
    printf("password     %s\n", *a->hash ? "set" : "none");
    printf("admin        %s\n", a->admin ? "yes" : "no");
    printf("SCRAM        %s\n", !has_scram(a)     ? "none"
                                : !*a->scram_sha1 ? "SHA-256"
                                : !*a->scram      ? "SHA-1"
                                                  : "SHA-256, SHA-1");
    printf("password for %s\n", cmd_services_text(&c->arena, ~a->refused & CMD_SERVICES_ALL));
    printf("app passwords %zu\n", a->app_passwords_n);
    printf("message size %s\n",
           a->message_size ? cmd_human_size(&c->arena, a->message_size) : "as for all");
    if (a->connections)
        printf("connections  %u\n", a->connections);
    else
        printf("connections  as for all\n");
    if (!u->known)
        return;
    printf("quota        %s\n", u->quota ? cmd_human_size(&c->arena, u->quota) : "none");
    printf("used         %s in %" PRIu64 " messages\n", cmd_human_size(&c->arena, u->bytes),
           u->messages);
    printf("mailboxes    %zu\n", u->mailboxes);
}

static int run_show(struct cmd *c, int argc, char **argv)
{
    struct directory_account account;
    struct usage usage;
    int r = cmd_open_mail(c);

    if (r != 0 || (r = cmd_find_account(c, argv[0], &account)) != 0)
        return r;
    if (read_usage(c, account.id, &usage) < 0)
        return cmd_fail(c, argv[0]);
    (c->json ? show_json : show_text)(c, &account, &usage);
    return CMD_OK;
}

const struct command cmd_account_show = {
    .name = "account show",
    .usage = "[OPTION...] LOGIN",
    .brief = "show one account, its limits and what it uses",
    .help = "Shows what is known of an account, but neither passwords nor mail. LOGIN may also be "
            "the account's id (16 hex digits), as for all commands.",
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_show,
};

/* ---- account passwd ---- */

static int change_password(struct cmd *c, struct directory_account *account, const void *context)
{
    const struct cmd_password *password = context;

    account->hash = password->hash;
    account->scram = password->scram;
    account->scram_sha1 = password->scram_sha1;
    return 0;
}

static int run_passwd(struct cmd *c, int argc, char **argv)
{
    struct directory_account account;
    struct cmd_password password;
    int r = cmd_open_directory(c);

    /* Before a password is asked for. */
    if (r != 0 || (r = cmd_find_account(c, argv[0], &account)) != 0 ||
        (r = cmd_password_given(c, &password)) != 0)
        return r;
    r = cmd_change_account(c, argv[0], change_password, &password);
    if (r == 0 && c->json)
        cmd_put_json(json_pack("{s:s, s:s*}", "login", account.login, "password",
                               *password.random ? password.random : NULL));
    else if (r == 0 && *password.random)
        printf("%s\t%s\n", account.login, password.random);
    return r;
}

static const struct cmd_option passwd_options[] = {CMD_PASSWORD_OPTIONS, {0}};

const struct command cmd_account_passwd = {
    .name = "account passwd",
    .usage = "[OPTION...] LOGIN",
    .brief = "change an account's password",
    .help = "Changes the password. Running servers take the new one at once; sessions that are "
            "logged in stay.",
    .options = passwd_options,
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_passwd,
};

/* ---- account set ---- */

enum {
    OPTION_ENABLE = 256,
    OPTION_DISABLE,
    OPTION_RENAME,
    OPTION_ADMIN,
    OPTION_NO_ADMIN,
    OPTION_PASSWORD_FOR
};

/* What the options ask for. */
struct settings {
    const char *name, *login;
    bool has_status, has_size, has_connections, has_quota, has_admin, has_services, admin;
    unsigned services;
    enum account_status status;
    uint64_t size, connections, quota;
};

static int change_settings(struct cmd *c, struct directory_account *account, const void *context)
{
    const struct settings *s = context;

    if (s->name)
        account->display = s->name;
    if (s->has_status)
        account->status = s->status;
    if (s->has_size)
        account->message_size = s->size;
    if (s->has_connections)
        account->connections = (unsigned)s->connections;
    if (s->has_admin)
        account->admin = s->admin;
    if (s->has_services)
        account->refused = ~s->services & CMD_SERVICES_ALL;
    return 0;
}

/* The quota counts at commit, so it is in the account's log. */
static int change_quota(struct cmd *c, const char *login, uint64_t quota)
{
    struct directory_account found;
    struct account *account = NULL;
    char text[24];
    int r = cmd_find_account(c, login, &found);

    if (r != 0)
        return r;
    if (account_open(c->mail, found.id, &account, &c->error) < 0)
        return cmd_fail(c, login);
    snprintf(text, sizeof text, "%" PRIu64, quota);
    struct intent intent = {.kind = INTENT_ACCOUNT,
                            .account = account,
                            .key = S(QUOTA_KEY),
                            .value = quota ? slice_str(text) : slice_of(NULL, 0)};
    struct intent *list[] = {&intent};
    mail_commit(c->mail, list, 1);
    r = intent.result;
    if (r < 0)
        c->error = intent.error;
    intent_done(&intent);
    account_unref(account);
    return r < 0 ? cmd_fail(c, login) : CMD_OK;
}

static int rename_account(struct cmd *c, const char *login, const char *to)
{
    struct directory_account account;
    int r = cmd_find_account(c, login, &account);

    if (r != 0)
        return r;
    return directory_account_rename(c->directory, &account, slice_str(to), &c->error) < 0
               ? cmd_fail(c, to)
               : CMD_OK;
}

static int read_settings(struct cmd *c, struct settings *s)
{
    const char *text;

    *s = (struct settings){0};
    cmd_option(c, 'n', &s->name);
    cmd_option(c, OPTION_RENAME, &s->login);
    s->has_status = cmd_option(c, OPTION_ENABLE, NULL) || cmd_option(c, OPTION_DISABLE, NULL);
    s->status = cmd_option(c, OPTION_DISABLE, NULL) ? ACCOUNT_DISABLED : ACCOUNT_ENABLED;
    s->admin = cmd_option(c, OPTION_ADMIN, NULL);
    s->has_admin = s->admin || cmd_option(c, OPTION_NO_ADMIN, NULL);
    s->has_quota = cmd_option(c, 'q', &text);
    if (s->has_quota && !cmd_parse_size(text, &s->quota))
        return cmd_usage_error(c, "\"%s\" is no size", text);
    s->has_size = cmd_option(c, 'm', &text);
    if (s->has_size && !cmd_parse_size(text, &s->size))
        return cmd_usage_error(c, "\"%s\" is no size", text);
    s->has_connections = cmd_option(c, 'k', &text);
    if (s->has_connections && !slice_to_u64(slice_str(text), 1000000, &s->connections))
        return cmd_usage_error(c, "\"%s\" is no number of connections", text);
    s->has_services = cmd_option(c, OPTION_PASSWORD_FOR, &text);
    if (s->has_services && !cmd_parse_services(text, &s->services))
        return cmd_usage_error(c, "\"%s\" is not made of imap, pop3 and smtp", text);
    if (c->given_n == 0)
        return cmd_usage_error(c, "nothing to change was given");
    return 0;
}

static int run_set(struct cmd *c, int argc, char **argv)
{
    struct settings s;
    int r = read_settings(c, &s);

    if (r == 0)
        r = cmd_open_mail(c);
    if (r == 0 && (s.name || s.has_status || s.has_size || s.has_connections || s.has_admin ||
                   s.has_services))
        r = cmd_change_account(c, argv[0], change_settings, &s);
    if (r == 0 && s.has_quota)
        r = change_quota(c, argv[0], s.quota);
    if (r == 0 && s.login)
        r = rename_account(c, argv[0], s.login);
    return r;
}

static const struct cmd_option set_options[] = {
    {'q', "quota", "SIZE", "room for mail, as 500M or 5G; 0: no limit"},
    {'n', "name", "TEXT", "the person's name"},
    {'m', "message-size", "SIZE", "the largest message; 0: as for all"},
    {'k', "connections", "NUMBER", "connections at once to one process; 0: as for all"},
    {OPTION_ENABLE, "enable", NULL, "allow logins and mail again"},
    {OPTION_DISABLE, "disable", NULL, "no logins, and mail is refused; everything is kept"},
    {OPTION_ADMIN, "admin", NULL, "may see and set quotas of other accounts (IMAP SETQUOTA)"},
    {OPTION_NO_ADMIN, "no-admin", NULL, "may not (the default)"},
    {OPTION_PASSWORD_FOR, "password-for", "SERVICES",
     "what the account's own password is for: some of imap,pop3,smtp, or all, or none, so that "
     "only app passwords, tokens and certificates let in"},
    {OPTION_RENAME, "rename", "LOGIN", "another login and address; the old one ends"},
    {0}};

const struct command cmd_account_set = {
    .name = "account set",
    .usage = "OPTION... LOGIN",
    .brief = "change an account's name, limits or login, or disable it",
    .help = "Changes what the options say and leaves the rest. Takes effect at once, for new "
            "logins.",
    .options = set_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_set,
};

/* ---- account delete ---- */

static int close_log(void *context, uint64_t id, struct error *err)
{
    struct cmd *c = context;
    struct intent intent = {.kind = INTENT_CLOSE};
    struct intent *list[] = {&intent};
    int r = account_open(c->mail, id, &intent.account, err);

    if (r < 0)
        return r == -ERR_NOTFOUND ? 0 : r; /* it never had a log */
    mail_commit(c->mail, list, 1);
    r = intent.result;
    if (r < 0 && err)
        *err = intent.error;
    intent_done(&intent);
    account_unref(intent.account);
    return r == -ERR_NOPERM ? 0 : r; /* closed already */
}

static int confirm(struct cmd *c, const char *login)
{
    char *answer;

    if (cmd_option(c, 'y', NULL))
        return 0;
    fprintf(stderr, "All mail of %s will be erased. Type its login to go on: ", login);
    answer = cmd_read_secret(c, "");
    if (answer && strcmp(answer, login) == 0)
        return 0;
    return cmd_usage_error(c, "not deleted (--yes asks nothing)");
}

static int run_delete(struct cmd *c, int argc, char **argv)
{
    struct directory_account account;
    int r = cmd_open_mail(c);

    if (r != 0 || (r = cmd_find_account(c, argv[0], &account)) != 0 ||
        (r = confirm(c, account.login)) != 0)
        return r;
    if (directory_account_close(c->directory, account.id, close_log, c, &c->error) < 0)
        return cmd_fail(c, argv[0]);
    return CMD_OK;
}

static const struct cmd_option delete_options[] = {{'y', "yes", NULL, "do not ask"}, {0}};

const struct command cmd_account_delete = {
    .name = "account delete",
    .usage = "[OPTION...] LOGIN",
    .brief = "delete an account and all its mail",
    .help =
        "Deletes an account: at once nobody can log in and no mail is taken, and the address is "
        "free; the mail is erased by the servers within days. May be repeated if it was "
        "interrupted (then by the account's id). Aliases that lead to it stay.",
    .options = delete_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_delete,
};
