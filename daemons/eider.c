/* SPDX-License-Identifier: MPL-2.0 */
/* eider: the tool. Finds the command's row, reads its options, runs it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemons/cmd.h"
#include "lib/base/mem.h"
#include "lib/bus/bus.h"

#define BUS_FLUSH_MS 1000 /* a bus that is away must not hold a command up */

const struct command *const cmd_table[] = {
    &cmd_serve,
    &cmd_account_add,
    &cmd_account_list,
    &cmd_account_show,
    &cmd_account_set,
    &cmd_account_sending,
    &cmd_account_passwd,
    &cmd_account_delete,
    &cmd_app_password_add,
    &cmd_app_password_list,
    &cmd_app_password_delete,
    &cmd_alias_add,
    &cmd_alias_list,
    &cmd_alias_delete,
    &cmd_domain_add,
    &cmd_domain_list,
    &cmd_domain_set,
    &cmd_domain_delete,
    &cmd_dkim_add,
    &cmd_dkim_list,
    &cmd_dkim_show,
    &cmd_dkim_rotate,
    &cmd_dkim_delete,
    &cmd_expire_set,
    &cmd_expire_clear,
    &cmd_expire_show,
    &cmd_expire_now,
    &cmd_queue_list,
    &cmd_queue_show,
    &cmd_queue_retry,
    &cmd_queue_hold,
    &cmd_queue_release,
    &cmd_queue_delete,
    &cmd_queue_stats,
#ifdef EIDER_HAS_IMPORT
    &cmd_import,
#endif
#ifdef EIDER_HAS_EXPORT
    &cmd_export,
#endif
#ifdef EIDER_HAS_FSCK
    &cmd_fsck,
#endif
#ifdef EIDER_HAS_LOG
    &cmd_log,
#endif
    &cmd_config_check,
    &cmd_config_show,
    &cmd_config_defaults,
    NULL,
};

/* ---- help ---- */

/* Wraps at 78 columns; a \n begins a paragraph. */
static void print_text(const char *text, int indent)
{
    while (*text) {
        size_t width = 78 - (size_t)indent, n = strcspn(text, "\n");

        if (n > width) {
            const char *space = memrchr(text, ' ', width + 1);

            n = space ? (size_t)(space - text) : n;
        }
        printf("%*s%.*s\n", indent, "", (int)n, text);
        text += n;
        if (*text == '\n')
            putchar('\n');
        text += strspn(text, " \n");
    }
}

static void print_option(const struct cmd_option *o)
{
    CLEANUP_FREE char *text = mem_printf(
        "%s--%s%s%s", o->letter < 256 ? (char[]){'-', (char)o->letter, ',', ' ', '\0'} : "    ",
        o->name, o->arg ? " " : "", o->arg ? o->arg : "");

    if (strlen(text) > 24)
        printf("  %s\n", text);
    else
        printf("  %-24s", text);
    if (strlen(o->help) > 50 || strlen(text) > 24) {
        if (strlen(text) <= 24)
            putchar('\n');
        print_text(o->help, 10);
    } else {
        printf(" %s\n", o->help);
    }
}

static const struct cmd_option common[] = {
    {'c', "config", "FILE", "read these settings (else $EIDER_CONFIG, else " CONF_FILE_DEFAULT ")"},
    {'h', "help", NULL, "this text"},
    {0}};
static const struct cmd_option json_option[] = {
    {'j', "json", NULL, "write JSON, one object a line"}, {0}};

static void print_help(const struct command *row)
{
    printf("Usage: eider %s %s\n\n", row->name, row->usage);
    print_text(row->help, 0);
    printf("\nOptions:\n");
    for (const struct cmd_option *o = row->options; o && o->letter; o++)
        print_option(o);
    for (const struct cmd_option *o = json_option; row->json && o->letter; o++)
        print_option(o);
    for (const struct cmd_option *o = common; o->letter; o++)
        print_option(o);
}

/* All commands, or those that begin with these words. */
static void print_commands(const char *group)
{
    size_t n = strlen(group);

    printf("Usage: eider [-c FILE] COMMAND [OPTION...] [ARGUMENT...]\n\nCommands:\n");
    for (size_t i = 0; cmd_table[i]; i++)
        if (strncmp(cmd_table[i]->name, group, n) == 0)
            printf("  %-28s %s\n", cmd_table[i]->name, cmd_table[i]->brief);
    printf("\n"
           "eider COMMAND --help says more; so do eider(1) and eider.conf(5).\n"
           "Exit codes: 0 done; 64 wrong usage; 65 wrong value; 67 not found; 70 internal error;\n"
           "73 exists already; 75 try again; 77 not allowed; 78 wrong settings.\n");
}

/* ---- options ---- */

struct parser {
    struct option longs[40];
    char shorts[120];
    size_t n, shorts_n;
};

static void add_options(struct parser *p, const struct cmd_option *options)
{
    for (const struct cmd_option *o = options; o && o->letter; o++) {
        if (p->n + 1 >= ARRAY_LEN(p->longs) || p->shorts_n + 3 >= sizeof p->shorts)
            abort(); /* a row with too many options: never in a release */
        p->longs[p->n++] =
            (struct option){o->name, o->arg ? required_argument : no_argument, NULL, o->letter};
        if (o->letter < 256) {
            p->shorts[p->shorts_n++] = (char)o->letter;
            if (o->arg)
                p->shorts[p->shorts_n++] = ':';
        }
    }
}

/* -1: go on; else the exit code. */
static int parse_options(struct cmd *c, int argc, char **argv)
{
    struct parser p = {0};
    int letter;

    add_options(&p, c->row->options);
    add_options(&p, common);
    if (c->row->json)
        add_options(&p, json_option);
    optind = 0; /* glibc: begin anew, with argv[0] as the program's name */
    while ((letter = getopt_long(argc, argv, p.shorts, p.longs, NULL)) != -1) {
        if (letter == 'h') {
            print_help(c->row);
            return CMD_OK;
        }
        if (letter == '?')
            return CMD_USAGE;
        if (letter == 'c')
            c->conf_path = optarg;
        else if (letter == 'j' && c->row->json)
            c->json = true;
        else if (c->given_n < ARRAY_LEN(c->given))
            c->given[c->given_n++] = (struct cmd_given){letter, optarg};
        else
            return cmd_usage_error(c, "too many options");
    }
    return -1;
}

static int check_args(struct cmd *c, int n)
{
    if (n < c->row->min_args)
        return cmd_usage_error(c, "%s: something is missing: %s", c->row->name, c->row->usage);
    if (c->row->max_args >= 0 && n > c->row->max_args)
        return cmd_usage_error(c, "%s: more than is wanted: %s", c->row->name, c->row->usage);
    return -1;
}

static void cmd_close(struct cmd *c)
{
    if (c->mail)
        mail_free(c->mail);
    if (c->bus)
        bus_flush(c->bus, BUS_FLUSH_MS);
    bus_close(c->bus);
    directory_free(c->directory);
    store_close(c->store);
    conf_free(c->conf);
    arena_done(&c->arena);
}

static int run(const struct command *row, const char *conf_path, int argc, char **argv)
{
    struct cmd c = {.row = row, .conf_path = conf_path};
    CLEANUP_FREE char *name = mem_printf("eider %s", row->name);
    int code;

    argv[0] = name; /* for getopt's messages */
    code = parse_options(&c, argc, argv);
    if (code < 0)
        code = check_args(&c, argc - optind);
    if (code < 0)
        code = row->run(&c, argc - optind, argv + optind);
    cmd_close(&c);
    if (fflush(stdout) == EOF && code == CMD_OK)
        code = CMD_TEMPORARY; /* what we said did not arrive: disk full, pipe closed */
    return code;
}

/* ---- finding the command ---- */

/* How many words of the command line are this row's name; 0: it is another. */
static int words_matched(const struct command *row, int argc, char **argv)
{
    const char *rest = row->name;
    int words = 0;

    while (*rest) {
        size_t n = strcspn(rest, " ");

        if (words >= argc || strlen(argv[words]) != n || strncmp(argv[words], rest, n) != 0)
            return 0;
        words++;
        rest += n + (rest[n] == ' ');
    }
    return words;
}

static const struct command *find(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; cmd_table[i]; i++) {
        *ret_words = words_matched(cmd_table[i], argc, argv);
        if (*ret_words)
            return cmd_table[i];
    }
    return NULL;
}

static bool is_group(const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; cmd_table[i]; i++)
        if (strncmp(cmd_table[i]->name, word, n) == 0 && cmd_table[i]->name[n] == ' ')
            return true;
    return false;
}

static int help(int argc, char **argv)
{
    const struct command *row;
    int words;

    if (argc > 0 && strcmp(argv[0], "--manual") == 0) {
        CLEANUP(buf_done) struct buf text = buf_make((size_t)1 << 20);

        cmd_write_manual(&text);
        fwrite(text.p, 1, text.n, stdout);
        return CMD_OK;
    }
    row = find(argc, argv, &words);
    if (row)
        print_help(row);
    else
        print_commands(argc > 0 ? argv[0] : "");
    return CMD_OK;
}

static int unknown(int argc, char **argv)
{
    /* "eider account" and "eider account --help" show what there is. */
    bool group = argc > 0 && is_group(argv[0]);
    bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

    if (group && (argc == 1 || asked)) {
        print_commands(argv[0]);
        return asked ? CMD_OK : CMD_USAGE;
    }
    if (argc > 0)
        fprintf(stderr, "eider: there is no command %s%s%s\n", argv[0], group ? " " : "",
                group ? argv[1] : "");
    fprintf(stderr, "Try: eider --help\n");
    return CMD_USAGE;
}

int main(int argc, char **argv)
{
    const char *conf_path = getenv("EIDER_CONFIG");
    const struct command *row;
    int words;

    argc--, argv++;
    while (argc > 1 && (strcmp(argv[0], "-c") == 0 || strcmp(argv[0], "--config") == 0)) {
        conf_path = argv[1];
        argc -= 2, argv += 2;
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ||
                     strcmp(argv[0], "help") == 0))
        return help(argc - 1, argv + 1);
    if (argc > 0 && strcmp(argv[0], "--version") == 0) {
        printf("eider %s\n", EIDER_VERSION);
        return CMD_OK;
    }
    row = find(argc, argv, &words);
    if (!row)
        return unknown(argc, argv);
    if (!conf_path || !*conf_path)
        conf_path = CONF_FILE_DEFAULT;
    return run(row, conf_path, argc - words + 1, argv + words - 1);
}
