/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/conf/value.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/conf/conf.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: writing takes the first that divides the value. */
static const struct unit size_units[] = {{"T", UINT64_C(1) << 40},
                                         {"G", UINT64_C(1) << 30},
                                         {"M", UINT64_C(1) << 20},
                                         {"K", UINT64_C(1) << 10},
                                         {"", 1}};
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

int value_error(const config_setting_t *s, const struct conf_place *at, struct error *err,
                const char *fmt, ...)
{
    const char *file = s && s->file ? s->file : at->file;
    char text[ERROR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!s)
        return error_set(err, ERR_INVALID, "%s: %s: %s", file, at->name, text);
    return error_set(err, ERR_INVALID, "%s:%u: %s: %s", file, s->line, at->name, text);
}

static bool with_unit(const char *text, const struct unit *units, size_t n, uint64_t *ret)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t v;

    if (!slice_to_u64(slice_of(text, digits), UINT64_MAX, &v))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(text + digits, units[i].name) == 0)
            return !__builtin_mul_overflow(v, units[i].factor, ret);
    return false;
}

static bool is_int(const config_setting_t *s)
{
    return s->type == CONFIG_TYPE_INT || s->type == CONFIG_TYPE_INT64;
}

static long long get_int(const config_setting_t *s)
{
    return s->type == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);
}

/* The limits of a row as the file would have them. */
static void range_text(const struct conf_row *row, struct buf *out)
{
    if (row->type == CONF_SIZE) {
        value_write_size(row->min, out);
        buf_add_str(out, " to ");
        value_write_size(row->max, out);
    } else if (row->type == CONF_DURATION) {
        value_write_duration(row->min, out);
        buf_add_str(out, " to ");
        value_write_duration(row->max, out);
    } else {
        buf_printf(out, "%" PRIu64 " to %" PRIu64, row->min, row->max);
    }
}

static int check_range(const struct conf_row *row, const config_setting_t *s,
                       const struct conf_place *at, uint64_t v, struct error *err)
{
    CLEANUP(buf_done) struct buf range = buf_make(200);

    if (v >= row->min && v <= row->max)
        return 0;
    range_text(row, &range);
    return value_error(s, at, err, "out of range, %s is allowed", buf_cstr(&range));
}

static int read_number(const struct conf_row *row, const config_setting_t *s,
                       const struct conf_place *at, uint64_t *ret, struct error *err)
{
    bool duration = row->type == CONF_DURATION;
    const struct unit *units = duration ? duration_units : size_units;
    bool ok = false;

    if (is_int(s)) {
        /* A bare number is seconds for durations. */
        ok = get_int(s) >= 0;
        if (ok && __builtin_mul_overflow((uint64_t)get_int(s), duration ? 1000u : 1u, ret))
            *ret = UINT64_MAX;
    } else if (s->type == CONFIG_TYPE_STRING && row->type != CONF_UINT) {
        ok = with_unit(config_setting_get_string(s), units, ARRAY_LEN(size_units), ret);
    }
    if (!ok)
        return value_error(s, at, err, "%s",
                           duration ? "a duration is wanted: seconds, or \"500ms\", \"30s\", "
                                      "\"5m\", \"24h\", \"7d\""
                           : row->type == CONF_SIZE
                               ? "a size is wanted: bytes, or \"64K\", \"50M\", \"1G\""
                               : "a whole number that is not negative is wanted");
    return check_range(row, s, at, *ret, err);
}

static int read_enum(const struct conf_row *row, const config_setting_t *s,
                     const struct conf_place *at, int *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf names = buf_make(400);
    const char *text = s->type == CONFIG_TYPE_STRING ? config_setting_get_string(s) : NULL;

    for (int i = 0; row->choices[i]; i++) {
        if (text && strcmp(text, row->choices[i]) == 0) {
            *ret = i;
            return 0;
        }
        buf_printf(&names, "%s\"%s\"", i ? ", " : "", row->choices[i]);
    }
    return value_error(s, at, err, "one of %s is wanted", buf_cstr(&names));
}

/* 0, or says what is wrong with a text. s: NULL where it does not stand in the file like this. */
static int check_text(const struct conf_row *row, const config_setting_t *s,
                      const struct conf_place *at, const char *text, struct error *err)
{
    if (strlen(text) < row->min)
        return value_error(s, at, err, "must not be empty or that short");
    if (strlen(text) > row->max)
        return value_error(s, at, err, "longer than %" PRIu64 " bytes", row->max);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            return value_error(s, at, err, "contains a control character");
    return 0;
}

static int read_string(const struct conf_row *row, const config_setting_t *s,
                       const struct conf_place *at, struct arena *a, const char **ret,
                       struct error *err)
{
    const char *text;
    int r;

    if (s->type != CONFIG_TYPE_STRING)
        return value_error(s, at, err, "a string is wanted, in quotes");
    text = config_setting_get_string(s);
    if ((r = check_text(row, s, at, text, err)) == 0)
        *ret = arena_str(a, slice_str(text));
    return r;
}

static int read_mode(const struct conf_row *row, const config_setting_t *s,
                     const struct conf_place *at, unsigned *ret, struct error *err)
{
    const char *text = s->type == CONFIG_TYPE_STRING ? config_setting_get_string(s) : "";
    unsigned v = 0;

    if (!*text || strlen(text) > 4 || strspn(text, "01234567") != strlen(text))
        return value_error(s, at, err, "permissions are wanted as octal text, as \"0660\"");
    for (; *text; text++)
        v = v * 8 + (unsigned)(*text - '0');
    if (v > row->max)
        return value_error(s, at, err, "more than \"0777\"");
    *ret = v;
    return 0;
}

static int read_networks(const struct conf_row *row, const config_setting_t *s,
                         const struct conf_place *at, struct arena *a, struct conf_any_list *ret,
                         struct error *err)
{
    size_t n = config_setting_is_aggregate(s) ? (size_t)config_setting_length(s) : 0;
    struct conf_network *items;

    if (!config_setting_is_array(s) && !config_setting_is_list(s))
        return value_error(s, at, err, "a list of networks is wanted, as [ \"10.1.0.0/16\" ]");
    if (n > row->max)
        return value_error(s, at, err, "more than %" PRIu64 " networks", row->max);
    items = arena_array(a, n, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        const char *text = config_setting_get_string_elem(s, (int)i);

        if (!text || conf_network_parse(text, &items[i]) < 0)
            return value_error(config_setting_get_elem(s, (unsigned)i), at, err,
                               "\"%.100s\" is no network, as \"10.1.0.0/16\" or \"2001:db8::/32\" "
                               "(with no bits set behind the prefix)",
                               text ? text : "");
    }
    *ret = (struct conf_any_list){items, n};
    return 0;
}

static int read_group(const struct conf_row *row, const config_setting_t *s,
                      const struct conf_place *at, struct arena *a, void *item, struct error *err)
{
    int r;

    if (!config_setting_is_group(s))
        return value_error(s, at, err, "a group is wanted: { ...; }");
    r = value_check_names(row->members, s, "", at, err);
    for (const struct conf_row *m = row->members; r == 0 && m->name; m++) {
        config_setting_t *value = config_setting_get_member(s, m->name);
        CLEANUP_FREE char *name = mem_printf("%s.%s", at->name, m->name);

        r = value ? value_read(m, value, &(struct conf_place){at->file, name}, a, item, err)
                  : value_default(m, a, item, err);
    }
    *(unsigned *)(void *)((char *)item + row->line_offset) = s->line;
    return r;
}

static int read_groups(const struct conf_row *row, const config_setting_t *s,
                       const struct conf_place *at, struct arena *a, struct conf_any_list *ret,
                       struct error *err)
{
    size_t n = config_setting_is_aggregate(s) ? (size_t)config_setting_length(s) : 0;
    char *items;
    int r = 0;

    if (!config_setting_is_list(s) && !(config_setting_is_array(s) && n == 0))
        return value_error(s, at, err, "a list of groups is wanted: ( { ...; }, { ...; } )");
    if (n > row->max)
        return value_error(s, at, err, "more than %" PRIu64 " groups", row->max);
    items = arena_array(a, n, row->item_size);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = read_group(row, config_setting_get_elem(s, (unsigned)i), at, a,
                       items + i * row->item_size, err);
    if (r == 0)
        *ret = (struct conf_any_list){items, n};
    return r;
}

static int read_bool(const config_setting_t *s, const struct conf_place *at, bool *ret,
                     struct error *err)
{
    if (s->type != CONFIG_TYPE_BOOL)
        return value_error(s, at, err, "true or false is wanted, without quotes");
    *ret = config_setting_get_bool(s) == CONFIG_TRUE;
    return 0;
}

int value_read(const struct conf_row *row, const config_setting_t *s, const struct conf_place *at,
               struct arena *a, void *base, struct error *err)
{
    void *target = (char *)base + row->offset;
    uint64_t v = 0;
    int r;

    switch (row->type) {
    case CONF_SECTION:
        return config_setting_is_group(s) ? 0
                                          : value_error(s, at, err, "a group is wanted: { ...; }");
    case CONF_BOOL:
        return read_bool(s, at, target, err);
    case CONF_UINT:
        if ((r = read_number(row, s, at, &v, err)) == 0)
            *(unsigned *)target = (unsigned)v;
        return r;
    case CONF_SIZE:
        return read_number(row, s, at, target, err);
    case CONF_DURATION:
        if ((r = read_number(row, s, at, &v, err)) == 0)
            *(int64_t *)target = (int64_t)v;
        return r;
    case CONF_STRING:
        return read_string(row, s, at, a, target, err);
    case CONF_ENUM:
        return read_enum(row, s, at, target, err);
    case CONF_MODE:
        return read_mode(row, s, at, target, err);
    case CONF_NETWORKS:
        return read_networks(row, s, at, a, target, err);
    case CONF_GROUPS:
        return read_groups(row, s, at, a, target, err);
    }
    return value_error(s, at, err, "no such type");
}

int value_default(const struct conf_row *row, struct arena *a, void *base, struct error *err)
{
    CLEANUP_FREE char *text = mem_printf("v = %s;", row->dflt);
    struct conf_place at = {"(default)", row->name};
    config_t c;
    int r;

    config_init(&c);
    if (config_read_string(&c, text) == CONFIG_TRUE)
        r = value_read(row, config_lookup(&c, "v"), &at, a, base, err);
    else
        r = error_set(err, ERR_INTERNAL, "default of %s: %s", row->name, config_error_text(&c));
    config_destroy(&c);
    return r;
}

int value_check(const struct conf_row *row, const void *base, const struct conf_place *at,
                struct error *err)
{
    const void *v = (const char *)base + row->offset;
    const struct conf_any_list *list = v;
    int r = 0;

    if (row->type == CONF_STRING)
        return check_text(row, NULL, at, *(const char *const *)v, err);
    for (size_t i = 0; row->type == CONF_GROUPS && i < list->n; i++) {
        const char *item = (const char *)list->items + i * row->item_size;

        for (const struct conf_row *m = row->members; r == 0 && m->name; m++) {
            CLEANUP_FREE char *name = mem_printf("%s.%s", at->name, m->name);

            r = value_check(m, item, &(struct conf_place){at->file, name}, err);
        }
    }
    return r;
}

static bool names_row(const struct conf_row *row, const char *prefix, const char *name)
{
    size_t n = strlen(prefix);

    return strncmp(row->name, prefix, n) == 0 && strcmp(row->name + n, name) == 0;
}

/* Letters that both have, in order: enough to find what a misspelt name was meant to be. */
static size_t likeness(const char *a, const char *b)
{
    size_t row[64] = {0}, n = MIN(strlen(b), ARRAY_LEN(row) - 1);

    for (; *a; a++) {
        size_t diagonal = 0;

        for (size_t i = 0; i < n; i++) {
            size_t above = row[i + 1];

            row[i + 1] = *a == b[i] ? diagonal + 1 : MAX(above, row[i]);
            diagonal = above;
        }
    }
    return row[n];
}

static const char *nearest(const struct conf_row *rows, const char *prefix, const char *name)
{
    const char *best = NULL;
    size_t best_likeness = 0, n = strlen(prefix);

    if (strlen(name) > 60)
        return NULL;
    for (const struct conf_row *row = rows; row->name; row++) {
        const char *tail = row->name + n;
        size_t l;

        if (strncmp(row->name, prefix, n) != 0 || strchr(tail, '.'))
            continue;
        l = likeness(name, tail);
        if (l > best_likeness && 4 * l >= 3 * MAX(strlen(name), strlen(tail))) {
            best_likeness = l;
            best = row->name;
        }
    }
    return best;
}

int value_check_names(const struct conf_row *rows, const config_setting_t *group,
                      const char *prefix, const struct conf_place *at, struct error *err)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        CLEANUP_FREE char *full =
            mem_printf("%s%s%s", at->name, *at->name ? "." : prefix, config_setting_name(s));
        struct conf_place here = {at->file, full};
        const struct conf_row *row = rows;
        const char *meant;

        while (row->name && !names_row(row, prefix, config_setting_name(s)))
            row++;
        if (row->name)
            continue;
        meant = nearest(rows, prefix, config_setting_name(s));
        return value_error(s, &here, err, "there is no such setting%s%s%s", meant ? " (is it " : "",
                           meant ? meant : "", meant ? "?)" : "");
    }
    return 0;
}

/* ---- writing ---- */

static void write_with_unit(uint64_t v, const struct unit *units, struct buf *out)
{
    while (v % units->factor != 0)
        units++;
    buf_printf(out, "\"%" PRIu64 "%s\"", v / units->factor, units->name);
}

void value_write_size(uint64_t bytes, struct buf *out)
{
    if (bytes == 0)
        buf_add_str(out, "0");
    else
        write_with_unit(bytes, size_units, out);
}

void value_write_duration(uint64_t ms, struct buf *out)
{
    if (ms == 0)
        buf_add_str(out, "0");
    else
        write_with_unit(ms, duration_units, out);
}

void value_write_string(const char *s, struct buf *out)
{
    buf_add_byte(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_add_byte(out, '\\');
        buf_add_byte(out, (uint8_t)*s);
    }
    buf_add_byte(out, '"');
}

/* What stands behind "password=" among the options, up to the next one. */
static void write_without_options(const char *uri, struct buf *out)
{
    static const char name[] = "password=";
    CLEANUP(buf_done) struct buf masked = buf_make(BUF_MAX_DEFAULT);
    const char *at;

    while ((at = strstr(uri, name))) {
        at += strlen(name);
        buf_add(&masked, uri, (size_t)(at - uri));
        buf_add_str(&masked, "***");
        uri = at + strcspn(at, "&");
    }
    buf_add_str(&masked, uri);
    value_write_string(buf_cstr(&masked), out);
}

/* "mongodb://user:secret@host?password=secret" without the secrets. */
static void write_masked(const char *uri, struct buf *out)
{
    const char *start = strstr(uri, "://");
    size_t authority = start ? strcspn(start + 3, "/?") : 0;
    const char *at = start ? memrchr(start + 3, '@', authority) : NULL;
    const char *colon = at ? memchr(start + 3, ':', (size_t)(at - start - 3)) : NULL;
    CLEANUP_FREE char *masked =
        colon ? mem_printf("%.*s***%s", (int)(colon + 1 - uri), uri, at) : mem_strdup(uri);

    write_without_options(masked, out);
}

static void write_network(const struct conf_network *net, struct buf *out)
{
    char text[INET6_ADDRSTRLEN] = "";
    bool v4 = net->bits >= 96 && IN6_IS_ADDR_V4MAPPED(&net->address);

    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &net->address.s6_addr[12] : &net->address.s6_addr[0],
              text, sizeof text);
    buf_printf(out, "\"%s/%u\"", text, v4 ? net->bits - 96 : net->bits);
}

static void write_networks(const struct conf_any_list *list, struct buf *out)
{
    buf_add_str(out, "[");
    for (size_t i = 0; i < list->n; i++) {
        buf_add_str(out, i ? ", " : " ");
        write_network((const struct conf_network *)list->items + i, out);
    }
    buf_add_str(out, list->n ? " ]" : "]");
}

static void write_groups(const struct conf_row *row, const struct conf_any_list *list, bool mask,
                         struct buf *out)
{
    buf_add_str(out, "(");
    for (size_t i = 0; i < list->n; i++) {
        buf_add_str(out, i ? ", { " : " { ");
        for (const struct conf_row *m = row->members; m->name; m++) {
            buf_printf(out, "%s = ", m->name);
            value_write(m, (const char *)list->items + i * row->item_size, mask, out);
            buf_add_str(out, "; ");
        }
        buf_add_str(out, "}");
    }
    buf_add_str(out, list->n ? " )" : ")");
}

void value_write(const struct conf_row *row, const void *base, bool mask, struct buf *out)
{
    const void *v = (const char *)base + row->offset;

    switch (row->type) {
    case CONF_SECTION:
        break;
    case CONF_BOOL:
        buf_add_str(out, *(const bool *)v ? "true" : "false");
        break;
    case CONF_UINT:
        buf_add_u64(out, *(const unsigned *)v);
        break;
    case CONF_SIZE:
        value_write_size(*(const uint64_t *)v, out);
        break;
    case CONF_DURATION:
        value_write_duration((uint64_t) * (const int64_t *)v, out);
        break;
    case CONF_STRING:
        if (mask && row->hidden)
            buf_add_str(out, **(const char *const *)v ? "\"***\"" : "\"\"");
        else if (mask && row->secret)
            write_masked(*(const char *const *)v, out);
        else
            value_write_string(*(const char *const *)v, out);
        break;
    case CONF_ENUM:
        buf_printf(out, "\"%s\"", row->choices[*(const int *)v]);
        break;
    case CONF_MODE:
        buf_printf(out, "\"%04o\"", *(const unsigned *)v);
        break;
    case CONF_NETWORKS:
        write_networks(v, out);
        break;
    case CONF_GROUPS:
        write_groups(row, v, mask, out);
        break;
    }
}
