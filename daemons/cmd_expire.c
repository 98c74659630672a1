/* SPDX-License-Identifier: MPL-2.0 */
/* expire: set, clear, show, now. How long messages stay (lib/mail/expire.h). */
#include <stdio.h>
#include <string.h>

#include "daemons/cmd.h"
#include "lib/base/mem.h"
#include "lib/conf/value.h"
#include "lib/mail/expire.h"

/* ---- who and how long ---- */

/* "never" or a duration; ms. False: it is none. */
static bool parse_age(const char *text, int64_t *ret)
{
    *ret = EXPIRE_NEVER;
    return strcmp(text, "never") == 0 || (cmd_parse_duration(text, ret) && *ret > 0);
}

static const char *age_text(struct arena *a, int64_t ms)
{
    CLEANUP(buf_done) struct buf text = buf_make(100);

    if (ms == EXPIRE_NEVER)
        return "never";
    value_write_duration((uint64_t)ms, &text);
    /* as the configuration file has it: a string, or a bare number */
    if (text.p[0] == '"')
        return arena_str(a, slice_sub(buf_slice(&text), 1, text.n - 1));
    return arena_str(a, buf_slice(&text));
}

static bool is_domain(const char *who)
{
    return !strchr(who, '@');
}

/* ---- a domain ---- */

static int change_domain(struct cmd *c, const char *name, bool has, int64_t ms)
{
    struct directory_domain domain;
    const char *normal;
    int r = cmd_open_directory(c);

    if (r != 0)
        return r;
    if (domain_normalise(slice_str(name), &c->arena, &normal, &c->error) < 0)
        return cmd_fail(c, NULL);
    do {
        r = directory_domain_get(c->directory, normal, &c->arena, &domain, &c->error);
        if (r == 0)
            r = error_set(&c->error, ERR_NOTFOUND, "%s is no domain of ours", normal);
        if (r < 0)
            return cmd_fail(c, NULL);
        domain.has_expire = has;
        domain.expire_ms = has ? ms : 0;
        r = directory_domain_update(c->directory, normal, &domain, &c->error);
    } while (r == -ERR_CONFLICT);
    return r < 0 ? cmd_fail(c, NULL) : CMD_OK;
}

/* ---- an account or one of its mailboxes ---- */

/* The account, open; 0, or an exit code after having said why. */
static int open_account(struct cmd *c, const char *login, struct account **ret)
{
    struct directory_account who;
    int r = cmd_open_mail(c);

    if (r == 0)
        r = cmd_find_account(c, login, &who);
    if (r == 0 && account_open(c->mail, who.id, ret, &c->error) < 0)
        r = cmd_fail(c, login);
    return r;
}

static int commit(struct cmd *c, struct intent *it, const char *what)
{
    mail_commit(c->mail, (struct intent *[]){it}, 1);
    int r = it->result;
    c->error = it->error;
    intent_done(it);
    return r < 0 ? cmd_fail(c, what) : CMD_OK;
}

/* Empty value: removed. */
static int set_mailbox(struct cmd *c, struct account *a, const char *name, struct slice value)
{
    struct intent it = {
        .kind = INTENT_SET, .account = a, .key = S(VALUE_EXPIRE_MS), .value = value};
    struct state *st = account_state(a);
    const struct mailbox *box = state_mailbox_named(st, slice_str(name));

    it.mailbox = box ? box->id : 0;
    state_unref(st);
    if (!box) {
        error_set(&c->error, ERR_NOTFOUND, "there is no mailbox %s", name);
        return cmd_fail(c, NULL);
    }
    return commit(c, &it, name);
}

static int change_account(struct cmd *c, const char *login, struct slice value)
{
    struct intent it = {.kind = INTENT_ACCOUNT, .key = S(VALUE_EXPIRE_MS), .value = value};
    struct account *a = NULL;
    const char *mailbox = NULL;
    int r = open_account(c, login, &a);

    if (r != 0)
        return r;
    it.account = a;
    if (cmd_option(c, 'm', &mailbox))
        r = set_mailbox(c, a, mailbox, value);
    else
        r = commit(c, &it, login);
    account_unref(a);
    return r;
}

/* ---- set, clear ---- */

static int change(struct cmd *c, const char *who, bool has, int64_t ms)
{
    CLEANUP(buf_done) struct buf value = buf_make(100);

    if (is_domain(who)) {
        if (cmd_option(c, 'm', NULL))
            return cmd_usage_error(c, "--mailbox goes with an account, and %s is a domain", who);
        return change_domain(c, who, has, ms);
    }
    if (has)
        buf_add_u64(&value, (uint64_t)ms);
    return change_account(c, who, buf_slice(&value));
}

static int run_set(struct cmd *c, int argc, char **argv)
{
    int64_t ms;

    if (!parse_age(argv[1], &ms))
        return cmd_usage_error(c, "\"%s\" is no duration, as 30d or 12h, nor \"never\"", argv[1]);
    return change(c, argv[0], true, ms);
}

static int run_clear(struct cmd *c, int argc, char **argv)
{
    return change(c, argv[0], false, 0);
}

static const struct cmd_option mailbox_options[] = {
    {'m', "mailbox", "NAME", "of this mailbox of the account alone"}, {0}};

const struct command cmd_expire_set = {
    .name = "expire set",
    .usage = "[OPTION...] LOGIN|DOMAIN AGE",
    .brief = "say how long messages stay",
    .help = "Messages that have been in their mailbox for longer than AGE (30d, 12h, ...) are "
            "expunged by the servers, as a client would do it: it shows in all clients, makes "
            "room, and can be undone within the undelete window. A mailbox's age counts before "
            "its account's, that before the domain's, and that before the setting mail.expire; "
            "\"never\" ends the search.",
    .options = mailbox_options,
    .min_args = 2,
    .max_args = 2,
    .run = run_set,
};

const struct command cmd_expire_clear = {
    .name = "expire clear",
    .usage = "[OPTION...] LOGIN|DOMAIN",
    .brief = "take back how long messages stay",
    .help = "What stands above counts again: the account's age for a mailbox, the domain's for an "
            "account, the setting mail.expire for a domain.",
    .options = mailbox_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_clear,
};

/* ---- show ---- */

static void put_age(struct cmd *c, const char *kind, struct slice name, int64_t ms)
{
    const char *text = age_text(&c->arena, ms);

    if (c->json)
        cmd_put_json(json_pack("{s:s, s:s%, s:s}", "of", kind, "name", (const char *)name.p, name.n,
                               "age", text));
    else
        printf("%s\t%.*s\t%s\n", kind, SLICE_FMT(name), text);
}

static void put_value(struct cmd *c, const char *kind, const char *name, struct slice value)
{
    uint64_t ms;

    if (slice_to_u64(value, INT64_MAX, &ms))
        put_age(c, kind, slice_str(name), (int64_t)ms);
}

static int show_domain(struct cmd *c, const char *name)
{
    struct directory_domain domain;
    const char *normal;
    int r;

    if (domain_normalise(slice_str(name), &c->arena, &normal, &c->error) < 0)
        return cmd_fail(c, NULL);
    r = directory_domain_get(c->directory, normal, &c->arena, &domain, &c->error);
    if (r == 0)
        r = error_set(&c->error, ERR_NOTFOUND, "%s is no domain of ours", normal);
    if (r < 0)
        return cmd_fail(c, NULL);
    if (domain.has_expire)
        put_age(c, "domain", slice_str(normal), domain.expire_ms);
    put_age(c, "server", slice_str("mail.expire"), c->conf->mail.expire);
    return CMD_OK;
}

static int run_show(struct cmd *c, int argc, char **argv)
{
    struct account *a = NULL;
    struct state *st;
    int r = is_domain(argv[0]) ? cmd_open_directory(c) : open_account(c, argv[0], &a);

    if (r != 0)
        return r;
    if (!a)
        return show_domain(c, argv[0]);
    st = account_state(a);
    for (size_t i = 0; i < st->n_mailboxes; i++)
        put_value(c, "mailbox", st->mailboxes[i]->name,
                  mailbox_value(st->mailboxes[i], S(VALUE_EXPIRE_MS)));
    put_value(c, "account", argv[0], state_value(st, S(VALUE_EXPIRE_MS)));
    state_unref(st);
    account_unref(a);
    return show_domain(c, strchr(argv[0], '@') + 1);
}

const struct command cmd_expire_show = {
    .name = "expire show",
    .usage = "[OPTION...] LOGIN|DOMAIN",
    .brief = "show how long messages stay",
    .help = "Writes a line for each age that is set and counts here, the nearest first: what it "
            "is of (mailbox, account, domain, server), its name, the age; separated by tabs.",
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_show,
};

/* ---- now ---- */

static int run_now(struct cmd *c, int argc, char **argv)
{
    struct directory_account who;
    struct directory_domain domain;
    uint64_t expunged;
    int64_t standard;
    int r = cmd_open_mail(c);

    if (r == 0)
        r = cmd_find_account(c, argv[0], &who);
    if (r != 0)
        return r;
    standard = c->conf->mail.expire;
    if (directory_domain_get(c->directory, strrchr(who.login, '@') + 1, &c->arena, &domain,
                             &c->error) == 1 &&
        domain.has_expire)
        standard = domain.expire_ms;
    if (expire_account(c->mail, who.id, standard, &expunged, &c->error) < 0)
        return cmd_fail(c, argv[0]);
    if (c->json)
        cmd_put_json(json_pack("{s:s, s:I}", "login", who.login, "expunged", (json_int_t)expunged));
    else
        printf("%s: %llu expunged\n", who.login, (unsigned long long)expunged);
    return CMD_OK;
}

const struct command cmd_expire_now = {
    .name = "expire now",
    .usage = "[OPTION...] LOGIN",
    .brief = "expunge what is too old at once",
    .help = "The servers do it by themselves, in rounds through all accounts.",
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_now,
};
