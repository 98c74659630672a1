/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/cmd.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "daemons/settings.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bus/bus.h"

#define SECRET_MAX    4096
#define CHANGE_ROUNDS 8 /* of changes that others overtake */

bool cmd_option(const struct cmd *c, int letter, const char **ret_arg)
{
    bool found = false;

    for (size_t i = 0; i < c->given_n; i++)
        if (c->given[i].letter == letter) {
            found = true;
            if (ret_arg)
                *ret_arg = c->given[i].arg ? c->given[i].arg : "";
        }
    return found;
}

/* ---- saying what is wrong ---- */

int cmd_exit_code(int err)
{
    switch (err < 0 ? -err : err) {
    case ERR_NONE:
        return CMD_OK;
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_QUOTA:
    case ERR_TOOBIG:
        return CMD_DATA;
    case ERR_NOTFOUND:
        return CMD_NOT_FOUND;
    case ERR_EXISTS:
        return CMD_EXISTS;
    case ERR_NOPERM:
    case ERR_AUTH:
        return CMD_NOT_ALLOWED;
    case ERR_CONFLICT:
    case ERR_UNAVAILABLE:
    case ERR_UNKNOWN_OUTCOME:
    case ERR_CANCELLED:
        return CMD_TEMPORARY;
    default:
        return CMD_SOFTWARE;
    }
}

int cmd_fail(struct cmd *c, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "eider: %s%s%s\n", what ? what : "", what ? ": " : "", c->error.text);
    return cmd_exit_code((int)c->error.kind);
}

int cmd_usage_error(struct cmd *c, const char *fmt, ...)
{
    va_list ap;

    fputs("eider: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry: eider %s --help\n", c->row->name);
    return CMD_USAGE;
}

/* ---- opening ---- */

int cmd_open_conf(struct cmd *c)
{
    if (c->conf || conf_load(c->conf_path, &c->conf, &c->error) == 0)
        return 0;
    cmd_fail(c, NULL);
    return CMD_CONFIG;
}

int cmd_open_store(struct cmd *c)
{
    int r = cmd_open_conf(c);

    if (r != 0 || c->store)
        return r;
    r = store_open(c->conf->store, NULL, &c->store, &c->error);
    return r < 0 ? cmd_fail(c, "store") : 0;
}

int cmd_open_directory(struct cmd *c)
{
    struct directory_options options;
    int r = cmd_open_store(c);

    if (r != 0 || c->directory)
        return r;
    settings_directory(c->conf, &options);
    options.proves_absence = true;
    c->directory = directory_new(c->store, &options);
    return 0;
}

/* So that servers on other machines hear at once of what is changed here; those on this one see it
 * by the store's pulse. */
static int open_bus(struct cmd *c)
{
    if (c->bus || strncmp(c->conf->bus, "redis", 5) != 0)
        return 0;
    log_set_level(LOG_WARN_);
    return bus_open(c->conf->bus, NULL, &c->bus, &c->error);
}

int cmd_open_mail(struct cmd *c)
{
    struct mail_settings settings;
    int r = cmd_open_directory(c);

    if (r != 0 || c->mail)
        return r;
    settings_mail(c->conf, &settings);
    r = open_bus(c);
    if (r < 0)
        return cmd_fail(c, "bus");
    r = mail_new(c->store, c->bus, &settings, &c->mail, &c->error);
    return r < 0 ? cmd_fail(c, "mail") : 0;
}

static bool parse_id(const char *text, uint64_t *ret)
{
    CLEANUP(buf_done) struct buf bytes = buf_make(8);

    if (strlen(text) != 16 || hex_decode(&bytes, slice_str(text)) < 0 || bytes.n != 8)
        return false;
    *ret = get_be64(bytes.p);
    return true;
}

int cmd_find_account(struct cmd *c, const char *login, struct directory_account *ret)
{
    uint64_t id;
    int r = cmd_open_directory(c);

    if (r != 0)
        return r;
    r = directory_account_find(c->directory, slice_str(login), &c->arena, ret, &c->error);
    /* A login first: somebody may be called like that. */
    if ((r == -ERR_NOTFOUND || r == -ERR_INVALID) && parse_id(login, &id))
        r = directory_account_get(c->directory, id, &c->arena, ret, &c->error);
    return r < 0 ? cmd_fail(c, login) : 0;
}

int cmd_change_account(struct cmd *c, const char *login,
                       int (*change)(struct cmd *c, struct directory_account *account,
                                     const void *context),
                       const void *context)
{
    int r = -ERR_CONFLICT;

    for (int i = 0; r == -ERR_CONFLICT && i < CHANGE_ROUNDS; i++) {
        struct directory_account account;
        int code = cmd_find_account(c, login, &account);

        if (code != 0)
            return code;
        if (account.status == ACCOUNT_CLOSING) {
            error_set(&c->error, ERR_NOTFOUND, "the account is deleted");
            return cmd_fail(c, login);
        }
        r = change(c, &account, context);
        if (r == 0)
            r = directory_account_update(c->directory, &account, &c->error);
    }
    return r < 0 ? cmd_fail(c, login) : CMD_OK;
}

/* ---- values ---- */

bool cmd_parse_size(const char *text, uint64_t *ret)
{
    static const char units[] = "KMGT";
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;
    uint64_t v;

    if (!slice_to_u64(slice_of(text, digits), UINT64_MAX, &v))
        return false;
    if (text[digits] && (!unit || text[digits + 1]))
        return false;
    if (unit && __builtin_mul_overflow(v, UINT64_C(1) << (10 * (unit - units + 1)), &v))
        return false;
    *ret = v;
    return v <= INT64_MAX;
}

bool cmd_parse_duration(const char *text, int64_t *ret)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t digits = strspn(text, "0123456789");
    uint64_t v;

    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(text + digits, units[i].name) == 0 &&
            slice_to_u64(slice_of(text, digits), (uint64_t)INT64_MAX / 2 / units[i].ms, &v)) {
            *ret = (int64_t)(v * units[i].ms);
            return true;
        }
    return false;
}

static const struct {
    const char *name;
    unsigned services;
} services[] = {{"imap", AUTH_IMAP}, {"pop3", AUTH_POP3}, {"smtp", AUTH_SMTP}};

bool cmd_parse_services(const char *text, unsigned *ret)
{
    unsigned got = 0;
    size_t i;

    *ret = strcmp(text, "all") == 0 ? CMD_SERVICES_ALL : 0;
    if (*ret || strcmp(text, "none") == 0)
        return true;
    for (bool more = true; more; text++) {
        size_t n = strcspn(text, ",");

        for (i = 0; i < ARRAY_LEN(services); i++)
            if (strlen(services[i].name) == n && strncmp(text, services[i].name, n) == 0)
                break;
        if (i == ARRAY_LEN(services))
            return false;
        got |= services[i].services;
        text += n;
        more = *text == ',';
    }
    *ret = got;
    return true;
}

const char *cmd_services_text(struct arena *a, unsigned bits)
{
    const char *text = "";

    if ((bits & CMD_SERVICES_ALL) == CMD_SERVICES_ALL)
        return "all";
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (bits & services[i].services)
            text = arena_printf(a, "%s%s%s", text, *text ? "," : "", services[i].name);
    return *text ? text : "none";
}

const char *cmd_human_size(struct arena *a, uint64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    double v = (double)bytes;
    size_t unit = 0;

    while (v >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        v /= 1024;
        unit++;
    }
    return arena_printf(a, unit && v < 100 ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

const char *cmd_time(struct arena *a, int64_t ms)
{
    struct civil t = civil_from_unix(ms / 1000, 0);

    return arena_printf(a, "%04d-%02d-%02dT%02d:%02d:%02dZ", t.year, t.month, t.day, t.hour,
                        t.minute, t.second);
}

const char *cmd_id_text(struct arena *a, uint64_t id)
{
    return arena_printf(a, "%016" PRIx64, id);
}

void cmd_put_json(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(object);
}

/* ---- secrets ---- */

static char *read_line(struct cmd *c)
{
    char line[SECRET_MAX];
    char *copy = NULL;

    if (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = '\0';
        copy = arena_str(&c->arena, slice_str(line));
    }
    secret_wipe(line, sizeof line);
    return copy;
}

char *cmd_read_secret(struct cmd *c, const char *prompt)
{
    struct termios saved, quiet;
    char *line;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
        return read_line(c);
    quiet = saved;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    fprintf(stderr, "%s: ", prompt);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    line = read_line(c);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
    fputc('\n', stderr);
    return line;
}
