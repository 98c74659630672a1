/* SPDX-License-Identifier: MPL-2.0 */
/* The rows as text for people: the sample file, the manual, and what `eider config` shows. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/conf/conf.h"
#include "lib/conf/rows.h"
#include "lib/conf/value.h"

#define TEXT_MAX      ((size_t)1 << 20)
#define COMMENT_WIDTH 96
#define ROFF_WIDTH    76

/* The last part of a name: how it is written inside its section. */
static const char *tail(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

void conf_each(const struct conf *c,
               void (*tell)(void *context, const char *name, const char *value, bool is_default),
               void *context)
{
    CLEANUP(buf_done) struct buf value = buf_make(TEXT_MAX), dflt = buf_make(TEXT_MAX);
    struct conf *defaults = NULL;

    if (conf_load(NULL, &defaults, NULL) < 0)
        return;
    for (const struct conf_row *row = conf_rows; row->name; row++) {
        bool same;

        if (row->type == CONF_SECTION)
            continue;
        buf_reset(&value, TEXT_MAX);
        buf_reset(&dflt, TEXT_MAX);
        value_write(row, c, false, &value);
        value_write(row, defaults, false, &dflt);
        same = slice_eq(buf_slice(&value), buf_slice(&dflt));
        buf_reset(&value, TEXT_MAX);
        value_write(row, c, true, &value);
        tell(context, row->name, buf_cstr(&value), same);
    }
    conf_free(defaults);
}

static bool section_has(const struct conf_row *section, const struct conf_row *row)
{
    size_t n = strlen(section->name);

    return row->name && strncmp(row->name, section->name, n) == 0 && row->name[n] == '.';
}

void conf_write(const struct conf *c, struct buf *out)
{
    const struct conf_row *section = NULL;

    for (const struct conf_row *row = conf_rows; row->name; row++) {
        if (row->type == CONF_SECTION) {
            section = row;
            buf_printf(out, "%s = {\n", row->name);
            continue;
        }
        buf_printf(out, "%s%s = ", section ? "    " : "", tail(row->name));
        value_write(row, c, false, out);
        buf_add_str(out, ";\n");
        if (section && !section_has(section, row + 1)) {
            buf_add_str(out, "};\n");
            section = NULL;
        }
    }
}

/* ---- the sample file ---- */

/* How much of the text goes on a line of this width: up to a space, unless a word is longer. */
static size_t line_length(const char *text, size_t width)
{
    size_t n = 0;

    for (size_t i = 0; i <= width; i++) {
        if (text[i] == '\0')
            return i;
        if (text[i] == ' ')
            n = i;
    }
    return n ? n : strcspn(text, " ");
}

static void comment(const char *text, const char *indent, struct buf *out)
{
    while (*text) {
        size_t n = line_length(text, COMMENT_WIDTH - strlen(indent) - 2);

        buf_printf(out, "%s# %.*s\n", indent, (int)(text[n - 1] == ' ' ? n - 1 : n), text);
        text += n;
        text += strspn(text, " ");
    }
}

/* What may be given: for the end of a setting's explanation. */
static void write_form(const struct conf_row *row, struct buf *out)
{
    if (row->type == CONF_ENUM) {
        for (size_t i = 0; row->choices[i]; i++)
            buf_printf(out, "%s\"%s\"", i ? ", " : "One of ", row->choices[i]);
    } else if (row->type == CONF_UINT) {
        buf_printf(out, "%" PRIu64 " to %" PRIu64, row->min, row->max);
    } else if (row->type == CONF_SIZE || row->type == CONF_DURATION) {
        bool size = row->type == CONF_SIZE;

        (size ? value_write_size : value_write_duration)(row->min, out);
        buf_add_str(out, " to ");
        (size ? value_write_size : value_write_duration)(row->max, out);
    } else {
        return;
    }
    buf_add_str(out, ".");
}

static void explain(const struct conf_row *row, const char *indent, struct buf *out)
{
    CLEANUP(buf_done) struct buf text = buf_make(8192);

    buf_add_str(&text, row->help);
    if (row->type == CONF_ENUM || row->type == CONF_UINT || row->type == CONF_SIZE ||
        row->type == CONF_DURATION)
        buf_add_byte(&text, ' ');
    write_form(row, &text);
    comment(buf_cstr(&text), indent, out);
}

static void sample_groups(const struct conf_row *row, const char *indent, struct buf *out)
{
    buf_printf(out, "%s#\n", indent);
    for (const struct conf_row *m = row->members; m->name; m++) {
        CLEANUP(buf_done) struct buf text = buf_make(8192);

        buf_printf(&text, "%s (default %s): %s ", m->name, m->dflt, m->help);
        write_form(m, &text);
        comment(buf_cstr(&text), indent, out);
    }
}

void conf_write_sample(struct buf *out)
{
    const struct conf_row *section = NULL;

    comment("Eider's settings. All of them are here, with their defaults; see eider.conf(5). "
            "Sizes may be written as \"64K\", \"50M\", \"1G\"; durations as \"500ms\", \"30s\", "
            "\"5m\", \"24h\", \"7d\", or as a number of seconds. Another file is read in place by "
            "@include \"other.conf\". Check with: eider config check",
            "", out);
    for (const struct conf_row *row = conf_rows; row->name; row++) {
        const char *indent = section ? "    " : "";

        buf_add_str(out, "\n");
        explain(row, indent, out);
        if (row->type == CONF_SECTION) {
            section = row;
            buf_printf(out, "%s = {", row->name);
            continue;
        }
        if (row->type == CONF_GROUPS)
            sample_groups(row, indent, out);
        buf_printf(out, "%s# %s = ", indent, tail(row->name));
        buf_add_str(out, row->dflt);
        buf_add_str(out, ";\n");
        if (section && !section_has(section, row + 1)) {
            buf_add_str(out, "};\n");
            section = NULL;
        }
    }
}

/* ---- the manual ---- */

/* The length of the first sentence, with its full stop. */
static size_t sentence_length(const char *text)
{
    for (size_t i = 0; text[i]; i++)
        if ((text[i] == '.' || text[i] == '?') && text[i + 1] == ' ')
            return i + 1;
    return strlen(text);
}

/* Text as mdoc: every sentence on lines of its own, nothing that roff would take as its own. */
static void roff(const char *text, struct buf *out)
{
    while (*text) {
        size_t n = line_length(text, ROFF_WIDTH);

        n = MIN(n, sentence_length(text));
        if (*text == '.' || *text == '\'')
            buf_add_str(out, "\\&");
        for (size_t i = 0; i < n; i++)
            if (text[i] == '\\')
                buf_add_str(out, "\\e");
            else
                buf_add_byte(out, (uint8_t)text[i]);
        buf_add_byte(out, '\n');
        text += n;
        text += strspn(text, " ");
    }
}

static const char *type_name(const struct conf_row *row)
{
    static const char *const names[] = {[CONF_BOOL] = "true or false",
                                        [CONF_UINT] = "number",
                                        [CONF_SIZE] = "size",
                                        [CONF_DURATION] = "duration",
                                        [CONF_STRING] = "string",
                                        [CONF_ENUM] = "word",
                                        [CONF_MODE] = "octal string",
                                        [CONF_NETWORKS] = "list of networks",
                                        [CONF_GROUPS] = "list of groups"};

    return names[row->type];
}

static void manual_row(const struct conf_row *row, struct buf *out)
{
    CLEANUP(buf_done) struct buf form = buf_make(1000), dflt = buf_make(1000);

    write_form(row, &form);
    buf_add_str(&dflt, row->dflt);
    buf_printf(out, ".It Va %s Pq %s\n", row->name, type_name(row));
    roff(row->help, out);
    if (form.n)
        roff(buf_cstr(&form), out);
    if (row->type == CONF_GROUPS && row->dflt[1] != ')') {
        buf_add_str(out, "Default:\n.Bd -literal -offset indent\n");
        for (const char *p = row->dflt; *p; p++) {
            bool comma_between = strncmp(p, ", {", 3) == 0;

            buf_add_str(out, comma_between ? ",\n " : (char[]){*p, '\0'});
            p += comma_between;
        }
        buf_add_str(out, "\n.Ed\n");
    } else {
        buf_printf(out, "Default: %s%s\n", buf_cstr(&dflt),
                   row->reload ? "; a reload changes it." : ".");
    }
}

static const char manual_head[] =
    ".\\\" SPDX-License-Identifier: MPL-2.0\n"
    ".\\\" Made by eider config defaults --manual; see lib/conf/rows.c.\n"
    ".Dd November 22, 2026\n"
    ".Dt EIDER.CONF 5\n"
    ".Os Eider\n"
    ".Sh NAME\n"
    ".Nm eider.conf\n"
    ".Nd settings of the Eider mail server\n"
    ".Sh DESCRIPTION\n"
    "All daemons and commands of Eider read one file,\n"
    ".Pa /etc/eider/eider.conf\n"
    "unless told otherwise by\n"
    ".Fl c .\n"
    "A file that does not exist is an error; an empty one means the defaults.\n"
    ".Pp\n"
    "The file holds settings of the form\n"
    ".Ql name = value ;\n"
    "and groups of them of the form\n"
    ".Ql name = { ... } ;\n"
    "below,\n"
    ".Va limits.message_size\n"
    "is the setting\n"
    ".Va message_size\n"
    "in the group\n"
    ".Va limits .\n"
    "Strings stand in double quotes, in which a backslash escapes.\n"
    "Lists of groups stand in ( ), lists of plain values in [ ].\n"
    "Comments begin with # or // and end with the line, or stand in /* */.\n"
    ".Ql @include \\(dqfile\\(dq\n"
    "reads another file in place.\n"
    "A size is a number of bytes, or a string with a unit:\n"
    ".Ql \\(dq64K\\(dq , \\(dq50M\\(dq , \\(dq1G\\(dq ,\n"
    "in powers of 1024.\n"
    "A duration is a number of seconds, or a string with a unit:\n"
    ".Ql \\(dq500ms\\(dq , \\(dq30s\\(dq , \\(dq5m\\(dq , \\(dq24h\\(dq , \\(dq7d\\(dq .\n"
    ".Pp\n"
    "A setting that does not exist, of another type or out of its range is refused,\n"
    "with the file and the line.\n"
    ".Nm eider Cm config check\n"
    "does so without starting anything.\n"
    "On\n"
    ".Dv SIGHUP\n"
    "a server reads the file again and takes over what a reload can change.\n"
    ".Sh SETTINGS\n";

static const char manual_tail[] =
    ".Sh FILES\n"
    ".Bl -tag -width indent\n"
    ".It Pa /etc/eider/eider.conf\n"
    "The settings.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "One machine, behind a load balancer that takes TLS off:\n"
    ".Bd -literal -offset indent\n"
    "listeners = (\n"
    "  { protocol = \\(dqimap\\(dq; address = \\(dq10.1.0.5\\(dq; proxy = true; },\n"
    "  { protocol = \\(dqlmtp\\(dq; path = \\(dq/run/eider/lmtp\\(dq; }\n"
    ");\n"
    "proxy = { networks = [ \\(dq10.1.0.0/24\\(dq ]; };\n"
    ".Ed\n"
    ".Sh SEE ALSO\n"
    ".Xr eider 1 ,\n"
    ".Xr eider-serve 8\n";

static void manual_groups(const struct conf_row *row, struct buf *out)
{
    buf_add_str(out, "The members of a group:\n.Bl -tag -width indent\n");
    for (const struct conf_row *m = row->members; m->name; m++)
        manual_row(m, out);
    buf_add_str(out, ".El\n");
}

void conf_write_manual(struct buf *out)
{
    buf_add_str(out, manual_head);
    buf_add_str(out, ".Bl -tag -width indent\n");
    for (const struct conf_row *row = conf_rows; row->name; row++) {
        if (row->type == CONF_SECTION) {
            buf_printf(out, ".El\n.Ss Section %s\n", row->name);
            roff(row->help, out);
            buf_add_str(out, ".Bl -tag -width indent\n");
            continue;
        }
        manual_row(row, out);
        if (row->type == CONF_GROUPS)
            manual_groups(row, out);
    }
    buf_add_str(out, ".El\n");
    buf_add_str(out, manual_tail);
}
