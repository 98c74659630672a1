/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemons/cmd.h"
#include "daemons/cmd_password.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define LINE_MAX_ 8192

enum { OPTION_ADD_DOMAIN = 256, OPTION_ONLY_INBOX, OPTION_DISABLED };

/* One account to make. */
struct request {
    const char *login, *display;
    struct cmd_password password;
    uint64_t quota;
};

/* The fold's own default needs no value in the log. */
static uint64_t undelete_of(const struct cmd *c)
{
    int64_t ms = c->conf->mail.undelete_window;

    return ms == UNDELETE_WINDOW_MS ? 0 : (uint64_t)MAX(ms, (int64_t)1);
}

/* The first record of its log, before its address leads to it. */
static int begin_log(void *context, uint64_t id, struct error *err)
{
    const void *const *both = context;
    struct cmd *c = (struct cmd *)both[0];
    const struct request *request = both[1];
    struct mail_account_options options = {.quota_bytes = request->quota,
                                           .undelete_ms = undelete_of(c),
                                           .only_inbox = cmd_option(c, OPTION_ONLY_INBOX, NULL)};
    int r = mail_account_create(c->mail, id, &options, err);

    return r == -ERR_EXISTS ? 0 : r;
}

static int add_domain(struct cmd *c, const char *login)
{
    const char *at = strrchr(login, '@');
    int r;

    if (!at || !cmd_option(c, OPTION_ADD_DOMAIN, NULL))
        return 0;
    r = directory_domain_add(c->directory, slice_str(at + 1), &c->error);
    return r == -ERR_EXISTS ? 0 : r;
}

/* Makes it and tells. 0, or minus an enum err with c->error. */
static int add(struct cmd *c, const struct request *request)
{
    struct directory_account wanted = {
        .login = request->login,
        .display = request->display,
        .status = cmd_option(c, OPTION_DISABLED, NULL) ? ACCOUNT_DISABLED : ACCOUNT_ENABLED,
        .hash = request->password.hash,
        .scram = request->password.scram,
        .scram_sha1 = request->password.scram_sha1};
    const void *both[] = {c, request};
    uint64_t id;
    int r = add_domain(c, request->login);

    if (r == 0)
        r = directory_account_add(c->directory, &wanted, begin_log, both, &id, &c->error);
    if (r < 0)
        return r;
    if (c->json)
        cmd_put_json(json_pack("{s:s, s:s, s:s*}", "login", request->login, "id",
                               cmd_id_text(&c->arena, id), "password",
                               *request->password.random ? request->password.random : NULL));
    else if (*request->password.random)
        printf("%s\t%s\n", request->login, request->password.random);
    else
        printf("%s\n", request->login);
    return 0;
}

/* ---- many, from a file ---- */

/* The next field of a line, with its tab taken away; "" behind the last. */
static char *field(char **rest)
{
    char *start = *rest, *tab = strchr(start, '\t');

    *rest = tab ? tab + 1 : start + strlen(start);
    if (tab)
        *tab = '\0';
    return start;
}

/* "": as the options say; "{PLAIN}secret"; or a ready hash. */
static int field_password(struct cmd *c, const char *text, struct cmd_password *ret)
{
    static const char plain[] = "{PLAIN}";

    *ret = (struct cmd_password){.hash = "", .scram = "", .scram_sha1 = "", .random = ""};
    if (*text == '\0')
        return cmd_option(c, 'r', NULL) ? cmd_password_random(c, ret) : 0;
    if (strncmp(text, plain, strlen(plain)) == 0)
        return cmd_password_make(c, text + strlen(plain), ret);
    if (cmd_password_ready(c, text, ret))
        return 0;
    return error_set(&c->error, ERR_INVALID, "the hash is of no kind that is known and safe");
}

static int add_line(struct cmd *c, char *line, uint64_t quota)
{
    char *rest = line;
    struct request request = {.login = field(&rest), .quota = quota};
    const char *password = field(&rest), *quota_text = field(&rest);
    int r;

    request.display = field(&rest);
    if (*quota_text && !cmd_parse_size(quota_text, &request.quota))
        return error_set(&c->error, ERR_INVALID, "\"%.40s\" is no size", quota_text);
    r = field_password(c, password, &request.password);
    if (r > 0)
        return -(int)c->error.kind; /* said already; say it with the line too */
    return r < 0 ? r : add(c, &request);
}

struct bulk {
    unsigned line, added, failed;
    int first_failure;
    bool terminal;
};

static void progress(struct bulk *b, bool end)
{
    if (b->terminal && (end || b->added % 50 == 0))
        fprintf(stderr, "\r%u added, %u failed%s", b->added, b->failed, end ? "\n" : "");
}

static void add_lines(struct cmd *c, FILE *f, const char *name, uint64_t quota, struct bulk *b)
{
    char line[LINE_MAX_];

    while (fgets(line, sizeof line, f)) {
        int r;

        b->line++;
        line[strcspn(line, "\r\n")] = '\0';
        if (*line == '\0' || *line == '#')
            continue;
        c->error = (struct error){0};
        r = add_line(c, line, quota);
        if (r == 0) {
            b->added++;
        } else {
            CLEANUP_FREE char *where = mem_printf("%s:%u", name, b->line);

            b->failed++;
            cmd_fail(c, where);
            if (b->first_failure == 0)
                b->first_failure = cmd_exit_code(r);
            if (r == -ERR_UNAVAILABLE || r == -ERR_UNKNOWN_OUTCOME)
                break; /* the rest would fail alike */
        }
        arena_reset(&c->arena);
        progress(b, false);
    }
    secret_wipe(line, sizeof line);
}

static int add_file(struct cmd *c, const char *name, uint64_t quota)
{
    bool from_stdin = strcmp(name, "-") == 0;
    FILE *f = from_stdin ? stdin : fopen(name, "re");
    struct bulk b = {.terminal = isatty(STDERR_FILENO)};

    if (!f) {
        error_set(&c->error, ERR_NOTFOUND, "%s: %s", name, strerror(errno));
        return cmd_fail(c, NULL);
    }
    add_lines(c, f, from_stdin ? "stdin" : name, quota, &b);
    progress(&b, true);
    if (!from_stdin)
        fclose(f);
    return b.first_failure;
}

/* ---- the command ---- */

static int run(struct cmd *c, int argc, char **argv)
{
    struct request request = {.display = ""};
    const char *quota = NULL, *file = NULL;
    int r = cmd_open_mail(c);

    if (r != 0)
        return r;
    request.quota = c->conf->quota.account;
    if (cmd_option(c, 'q', &quota) && !cmd_parse_size(quota, &request.quota))
        return cmd_usage_error(c, "\"%s\" is no size", quota);
    cmd_option(c, 'n', &request.display);
    if (cmd_option(c, 'f', &file))
        return argc ? cmd_usage_error(c, "either -f FILE or a login")
                    : add_file(c, file, request.quota);
    if (argc != 1)
        return cmd_usage_error(c, "one login is wanted");
    request.login = argv[0];
    r = cmd_password_given(c, &request.password);
    if (r != 0)
        return r;
    return add(c, &request) < 0 ? cmd_fail(c, argv[0]) : CMD_OK;
}

static const struct cmd_option options[] = {
    CMD_PASSWORD_OPTIONS,
    {'f', "file", "FILE",
     "add many: one account a line, fields separated by tabs: login, password, quota, name; the "
     "password is a ready hash, or {PLAIN} with the password behind it, or empty (none, or with "
     "-r a made-up one); - is standard input"},
    {'q', "quota", "SIZE", "room for mail, as 500M or 5G; 0: no limit (default: quota.account)"},
    {'n', "name", "TEXT", "the person's name"},
    {OPTION_ADD_DOMAIN, "add-domain", NULL, "make the domain ours if it is not"},
    {OPTION_ONLY_INBOX, "only-inbox", NULL, "without Drafts, Sent, Junk, Trash, Archive"},
    {OPTION_DISABLED, "disabled", NULL, "no logins and no mail until it is enabled"},
    {0}};

const struct command cmd_account_add = {
    .name = "account add",
    .usage = "[OPTION...] LOGIN | -f FILE",
    .brief = "make an account, or thousands",
    .help = "Makes an account with its mailboxes. LOGIN is a mail address in one of our domains; "
            "mail for it comes to the account. The password is read from standard input unless "
            "an option says otherwise. Prints the login, and a made-up password behind a tab.\n"
            "With -f, lines that fail are told with their number and do not stop the others.",
    .options = options,
    .json = true,
    .max_args = 1,
    .run = run,
};
