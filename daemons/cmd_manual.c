/* SPDX-License-Identifier: MPL-2.0 */
/* eider(1), made from the rows of the commands. */
#include <string.h>

#include "daemons/cmd.h"

#define LINE_WIDTH 76

static const char head[] = ".\\\" SPDX-License-Identifier: MPL-2.0\n"
                           ".\\\" Made by eider help --manual; see daemons/cmd_*.c.\n"
                           ".Dd November 22, 2026\n"
                           ".Dt EIDER 1\n"
                           ".Os Eider\n"
                           ".Sh NAME\n"
                           ".Nm eider\n"
                           ".Nd mail server and its administration\n"
                           ".Sh SYNOPSIS\n"
                           ".Nm eider\n"
                           ".Op Fl c Ar file\n"
                           ".Ar command\n"
                           ".Op Ar option ...\n"
                           ".Op Ar argument ...\n"
                           ".Nm eider\n"
                           ".Ar command\n"
                           ".Fl -help\n"
                           ".Nm eider\n"
                           ".Fl -version\n"
                           ".Sh DESCRIPTION\n"
                           "Runs the Eider mail server, and administers its accounts.\n"
                           "All commands work while servers run, on any node: they speak to the\n"
                           "store that the settings name.\n"
                           ".Pp\n"
                           "All commands take\n"
                           ".Fl c , -config Ar file\n"
                           "(the settings, see\n"
                           ".Xr eider.conf 5 )\n"
                           "and\n"
                           ".Fl h , -help .\n"
                           "Commands with\n"
                           ".Fl j , -json\n"
                           "then write one JSON object a line.\n"
                           ".Sh COMMANDS\n"
                           ".Bl -tag -width indent\n";

static const char tail[] = ".El\n"
                           ".Sh ENVIRONMENT\n"
                           ".Bl -tag -width indent\n"
                           ".It Ev EIDER_CONFIG\n"
                           "The settings, where\n"
                           ".Fl c\n"
                           "is not given.\n"
                           ".El\n"
                           ".Sh FILES\n"
                           ".Bl -tag -width indent\n"
                           ".It Pa /etc/eider/eider.conf\n"
                           "The settings, where neither is given.\n"
                           ".El\n"
                           ".Sh EXIT STATUS\n"
                           ".Bl -tag -width indent\n"
                           ".It 0\n"
                           "Done.\n"
                           ".It 64\n"
                           "The command line is wrong.\n"
                           ".It 65\n"
                           "A value is not of the form it must have, or a limit is met.\n"
                           ".It 67\n"
                           "There is no such account, alias, domain or file.\n"
                           ".It 70\n"
                           "A bug, or damage in what is stored.\n"
                           ".It 73\n"
                           "What was to be made is there already.\n"
                           ".It 75\n"
                           "The store cannot be reached, or somebody else was faster: try again.\n"
                           ".It 77\n"
                           "Not permitted.\n"
                           ".It 78\n"
                           "The settings are wrong, or cannot be read.\n"
                           ".El\n"
                           ".Sh EXAMPLES\n"
                           "A domain, an account with a made-up password, an alias:\n"
                           ".Bd -literal -offset indent\n"
                           "eider domain add example.org\n"
                           "eider account add --random --quota 5G joe@example.org\n"
                           "eider alias add postmaster@example.org joe@example.org\n"
                           ".Ed\n"
                           ".Pp\n"
                           "All accounts of a passwd-like file with ready hashes:\n"
                           ".Bd -literal -offset indent\n"
                           "awk -F: -v OFS='\\et' '{print $1 \\(dq@example.org\\(dq, $2}' users |\n"
                           "    eider account add --add-domain -f -\n"
                           ".Ed\n"
                           ".Sh SEE ALSO\n"
                           ".Xr eider.conf 5 ,\n"
                           ".Xr eider-serve 8\n";

/* How much of the text goes on the next line: a sentence, a paragraph, or what fits. */
static size_t next_line(const char *text)
{
    size_t last_space = 0;

    for (size_t i = 0; text[i] && text[i] != '\n'; i++) {
        if (text[i] != ' ')
            continue;
        if (text[i - (i > 0)] == '.')
            return i;
        if (i > LINE_WIDTH && last_space)
            return last_space;
        last_space = i;
    }
    if (strcspn(text, "\n") > LINE_WIDTH && last_space)
        return last_space;
    return strcspn(text, "\n");
}

static void roff(const char *text, struct buf *out)
{
    while (*text) {
        size_t n = next_line(text);

        if (*text == '.' || *text == '\'')
            buf_add_str(out, "\\&");
        for (size_t i = 0; i < n; i++)
            if (text[i] == '\\')
                buf_add_str(out, "\\e");
            else
                buf_add_byte(out, (uint8_t)text[i]);
        buf_add_byte(out, '\n');
        text += n;
        if (*text == '\n')
            buf_add_str(out, ".Pp\n");
        text += strspn(text, " \n");
    }
}

static void write_option(const struct cmd_option *o, struct buf *out)
{
    buf_add_str(out, ".It ");
    if (o->letter < 256)
        buf_printf(out, "Fl %c , ", o->letter);
    /* In mdoc, a second dash is part of the word. */
    buf_printf(out, "%s-%s", o->letter < 256 ? "" : "Fl ", o->name);
    if (o->arg)
        buf_printf(out, " Ar %s", o->arg);
    buf_add_byte(out, '\n');
    roff(o->help, out);
}

/* "[OPTION...] LOGIN" as plain words: roff's own words are short. */
static void write_command(const struct command *row, struct buf *out)
{
    buf_printf(out, ".It Ic %s No %s\n", row->name, row->usage);
    roff(row->help, out);
    if (!row->options || !row->options->letter)
        return;
    buf_add_str(out, ".Bl -tag -width indent\n");
    for (const struct cmd_option *o = row->options; o->letter; o++)
        write_option(o, out);
    buf_add_str(out, ".El\n");
}

void cmd_write_manual(struct buf *out)
{
    buf_add_str(out, head);
    for (size_t i = 0; cmd_table[i]; i++)
        write_command(cmd_table[i], out);
    buf_add_str(out, tail);
}
