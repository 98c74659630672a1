/* SPDX-License-Identifier: MPL-2.0 */
#include <stdio.h>

#include "daemons/cmd.h"
#include "daemons/settings.h"
#include "lib/base/mem.h"
#include "lib/bus/bus.h"

#define TEXT_MAX ((size_t)1 << 20)

static int put_text(struct cmd *c, const struct buf *text)
{
    return fwrite(text->p, 1, text->n, stdout) == text->n ? CMD_OK : CMD_TEMPORARY;
}

/* ---- check ---- */

static int run_check(struct cmd *c, int argc, char **argv)
{
    struct settings_oauth oauth;
    int r = cmd_open_conf(c);

    if (r != 0)
        return r;
    settings_oauth(c->conf, &oauth);
    if (conf_check_serve(c->conf, &c->error) < 0 || bus_check(c->conf->bus, &c->error) < 0 ||
        oauth_check_options(&oauth.options, &c->error) < 0) {
        cmd_fail(c, NULL);
        return CMD_CONFIG;
    }
    printf("%s is fine\n", c->conf->file);
    return CMD_OK;
}

const struct command cmd_config_check = {
    .name = "config check",
    .usage = "[-c FILE]",
    .brief = "check the settings without starting anything",
    .help = "Reads the settings and says what is wrong, with file and line. Looks at certificates "
            "too, but opens neither store nor sockets.",
    .run = run_check,
};

/* ---- show ---- */

static void put_setting(void *context, const char *name, const char *value, bool is_default)
{
    struct cmd *c = context;

    if (c->json)
        cmd_put_json(
            json_pack("{s:s, s:s, s:b}", "name", name, "value", value, "default", is_default));
    else if (!is_default || cmd_option(c, 'a', NULL))
        printf("%s = %s;\n", name, value);
}

static int run_show(struct cmd *c, int argc, char **argv)
{
    int r = cmd_open_conf(c);

    if (r == 0)
        conf_each(c->conf, put_setting, c);
    return r;
}

static const struct cmd_option show_options[] = {
    {'a', "all", NULL, "also settings that are as the default has them"}, {0}};

const struct command cmd_config_show = {
    .name = "config show",
    .usage = "[OPTION...]",
    .brief = "show the settings that differ from the defaults",
    .help = "Shows what holds after the file was read: settings that differ from their defaults, "
            "one a line, with their full names. Passwords in the store's URI are masked. With "
            "--json all settings are written.",
    .options = show_options,
    .json = true,
    .run = run_show,
};

/* ---- defaults ---- */

enum { OPTION_SAMPLE = 256, OPTION_MANUAL };

static int run_defaults(struct cmd *c, int argc, char **argv)
{
    CLEANUP(buf_done) struct buf text = buf_make(TEXT_MAX);
    struct conf *defaults = NULL;

    if (cmd_option(c, OPTION_SAMPLE, NULL)) {
        conf_write_sample(&text);
    } else if (cmd_option(c, OPTION_MANUAL, NULL)) {
        conf_write_manual(&text);
    } else {
        if (conf_load(NULL, &defaults, &c->error) < 0)
            return cmd_fail(c, NULL);
        conf_write(defaults, &text);
        conf_free(defaults);
    }
    return put_text(c, &text);
}

static const struct cmd_option defaults_options[] = {
    {OPTION_SAMPLE, "sample", NULL, "with explanations and commented out: a file to begin with"},
    {OPTION_MANUAL, "manual", NULL, "the manual page eider.conf(5), in mdoc"},
    {0}};

const struct command cmd_config_defaults = {
    .name = "config defaults",
    .usage = "[OPTION...]",
    .brief = "write all settings with their defaults",
    .help = "Writes a file of settings in which everything is as it is without a file, on this "
            "machine.",
    .options = defaults_options,
    .run = run_defaults,
};
