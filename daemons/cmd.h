/* SPDX-License-Identifier: MPL-2.0 */
/* cmd: what the commands of the `eider` tool have in common.
 *
 * A command is a row: name, usage, help, options, function. --help and the manual page eider(1) are
 * made from the rows. To add a command: daemons/cmd_X.c with a `const struct command cmd_X`, a
 * line for it at the end of this header and in the table in eider.c, the file in meson.build, and
 * docs/man/eider.1 written anew (`eider help --manual`).
 *
 * Commands work while servers run: they speak to the store, not to the servers.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/auth/directory.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/conf/conf.h"
#include "lib/mail/mail.h"
#include "lib/store/store.h"

/* Exit codes, after sysexits.h. */
enum cmd_exit {
    CMD_OK = 0,
    CMD_USAGE = 64,       /* the command line is wrong */
    CMD_DATA = 65,        /* a value given is not of the form it must have, or a limit is met */
    CMD_NOT_FOUND = 67,   /* no such account, alias, domain, ... */
    CMD_SOFTWARE = 70,    /* a bug, or damage in what is stored */
    CMD_EXISTS = 73,      /* what was to be made is there already */
    CMD_TEMPORARY = 75,   /* store not reachable, or others were faster: try again */
    CMD_NOT_ALLOWED = 77, /* not permitted */
    CMD_CONFIG = 78,      /* the settings are wrong, or cannot be read */
};

struct cmd_option {
    int letter;       /* 0 ends the list; above 255: a long one only */
    const char *name; /* long */
    const char *arg;  /* "SIZE"; NULL: takes none */
    const char *help;
};

struct cmd;

struct command {
    const char *name;                 /* "account add" */
    const char *usage;                /* what stands behind the name: "[OPTION...] LOGIN..." */
    const char *brief;                /* one line, no full stop */
    const char *help;                 /* sentences; paragraphs are separated by \n */
    const struct cmd_option *options; /* its own; -c, -h (and -j) are added */
    bool json;                        /* understands --json */
    int min_args, max_args;           /* words behind the options; max -1: any number */
    /* argv: the words behind the options. Returns an exit code; use cmd_fail. */
    int (*run)(struct cmd *c, int argc, char **argv);
};

/* A command being run. */
struct cmd {
    const struct command *row;
    const char *conf_path; /* -c, or $EIDER_CONFIG, or CONF_FILE_DEFAULT */
    bool json;
    struct arena arena; /* freed at the end */
    struct error error;
    struct cmd_given { /* options of its own that were given, in order */
        int letter;
        const char *arg; /* NULL: none */
    } given[64];
    size_t given_n;
    /* Opened at first use by the functions below, closed at the end. */
    struct conf *conf;
    struct store *store;
    struct directory *directory;
    struct bus *bus; /* NULL: none is needed */
    struct mail *mail;
};

/* Was the option given? Its last argument (or "") in *ret_arg, which may be NULL. */
bool cmd_option(const struct cmd *c, int letter, const char **ret_arg);

/* 0, or an exit code after having said why. */
int cmd_open_conf(struct cmd *c) MUST_USE;
int cmd_open_store(struct cmd *c) MUST_USE;     /* and conf */
int cmd_open_directory(struct cmd *c) MUST_USE; /* and store */
int cmd_open_mail(struct cmd *c) MUST_USE;      /* and directory */

/* Finds an account by login, or by id of 16 hex digits. 0, or an exit code after having said why.
 */
int cmd_find_account(struct cmd *c, const char *login, struct directory_account *ret) MUST_USE;

/* Reads the account, lets `change` change it, writes it; again if somebody else was faster. change
 * returns 0, or minus an enum err with c->error. 0, or an exit code after having said why. */
int cmd_change_account(struct cmd *c, const char *login,
                       int (*change)(struct cmd *c, struct directory_account *account,
                                     const void *context),
                       const void *context) MUST_USE;

/* Says c->error on standard error, with "what: " in front unless what is NULL; its exit code. */
int cmd_fail(struct cmd *c, const char *what);
int cmd_usage_error(struct cmd *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
int cmd_exit_code(int err);

/* "50M" as in the configuration file, or a number of bytes. False: it is none. */
bool cmd_parse_size(const char *text, uint64_t *ret);
/* Bytes for people: "1.5 GB". */
const char *cmd_human_size(struct arena *a, uint64_t bytes);
/* Milliseconds of wall clock as "2026-11-22T10:00:00Z". */
const char *cmd_time(struct arena *a, int64_t ms);
/* "90d", "12h" as in the configuration file, or a number of seconds; ms. False: it is none. */
bool cmd_parse_duration(const char *text, int64_t *ret);
#define CMD_SERVICES_ALL ((unsigned)(AUTH_IMAP | AUTH_POP3 | AUTH_SMTP))
/* "imap,smtp", "all", "none" to bits of enum auth_service and back. */
bool cmd_parse_services(const char *text, unsigned *ret);
const char *cmd_services_text(struct arena *a, unsigned services);
const char *cmd_id_text(struct arena *a, uint64_t id);
/* Writes the object on one line to standard output and drops it. */
void cmd_put_json(json_t *object);
/* A line from standard input without its end. Prompts, and hides what is typed, on a terminal.
 * In the arena; wiped with it. NULL: there is none. */
char *cmd_read_secret(struct cmd *c, const char *prompt);

/* ---- the commands ---- */

extern const struct command cmd_account_add, cmd_account_list, cmd_account_show, cmd_account_set,
    cmd_account_sending, cmd_account_passwd, cmd_account_delete;
extern const struct command cmd_app_password_add, cmd_app_password_list, cmd_app_password_delete;
extern const struct command cmd_alias_add, cmd_alias_list, cmd_alias_delete;
extern const struct command cmd_domain_add, cmd_domain_list, cmd_domain_set, cmd_domain_delete;
extern const struct command cmd_dkim_add, cmd_dkim_list, cmd_dkim_show, cmd_dkim_rotate,
    cmd_dkim_delete;
extern const struct command cmd_expire_set, cmd_expire_clear, cmd_expire_show, cmd_expire_now;
extern const struct command cmd_config_check, cmd_config_show, cmd_config_defaults;
extern const struct command cmd_queue_list, cmd_queue_show, cmd_queue_retry, cmd_queue_hold,
    cmd_queue_release, cmd_queue_delete, cmd_queue_stats;
extern const struct command cmd_serve, cmd_import, cmd_export, cmd_fsck, cmd_log;

/* All of them, NULL behind the last. (eider.c) */
extern const struct command *const cmd_table[];
void cmd_write_manual(struct buf *out); /* docs/man/eider.1 (cmd_manual.c) */
