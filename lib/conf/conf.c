/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/conf/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/conf/rows.h"
#include "lib/conf/value.h"

#define FILE_MAX ((size_t)1 << 20)

static void config_done(config_t *c)
{
    config_destroy(c);
}

/* ---- reading ---- */

static bool is_section(const char *name)
{
    for (const struct conf_row *row = conf_rows; row->name; row++)
        if (strcmp(row->name, name) == 0)
            return row->type == CONF_SECTION;
    return false;
}

/* Refuses groups and settings without a row, one section deep. */
static int check_unknown(const config_setting_t *root, const char *file, struct error *err)
{
    int r = value_check_names(conf_rows, root, "", &(struct conf_place){file, ""}, err);

    for (int i = 0; r == 0 && i < config_setting_length(root); i++) {
        const config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
        CLEANUP_FREE char *prefix = mem_printf("%s.", config_setting_name(s));

        if (config_setting_is_group(s) && is_section(config_setting_name(s)))
            r = value_check_names(conf_rows, s, prefix, &(struct conf_place){file, ""}, err);
    }
    return r;
}

static int read_rows(struct conf *c, const config_t *parsed, struct error *err)
{
    int r = 0;

    for (const struct conf_row *row = conf_rows; r == 0 && row->name; row++) {
        const config_setting_t *s = parsed ? config_lookup(parsed, row->name) : NULL;
        struct conf_place at = {c->file, row->name};

        if (s)
            r = value_read(row, s, &at, &c->arena, c, err);
        else if (row->type != CONF_SECTION)
            r = value_default(row, &c->arena, c, err);
    }
    return r;
}

/* ---- what the rows cannot say ---- */

static const char *below_data(struct conf *c, const char *path)
{
    return *path && *path != '/' ? arena_printf(&c->arena, "%s/%s", c->data, path) : path;
}

static int finish_store(struct conf *c, struct error *err)
{
    static const char sqlite[] = "sqlite:";

    if (strncmp(c->store, sqlite, strlen(sqlite)) == 0) {
        c->store =
            arena_printf(&c->arena, "%s%s", sqlite, below_data(c, c->store + strlen(sqlite)));
        return 0;
    }
    if (strncmp(c->store, "mongodb://", 10) == 0 || strncmp(c->store, "mongodb+srv://", 14) == 0 ||
        strcmp(c->store, "memory:") == 0)
        return 0;
    return error_set(err, ERR_INVALID, "%s: store: \"sqlite:FILE\" or \"mongodb://...\" is wanted",
                     c->file);
}

/* The rest is lib/bus's to judge (bus_check). */
static int finish_bus(struct conf *c, struct error *err)
{
    if (strcmp(c->bus, "local:") == 0 || strncmp(c->bus, "redis://", 8) == 0 ||
        strncmp(c->bus, "rediss://", 9) == 0)
        return 0;
    return error_set(err, ERR_INVALID,
                     "%s: bus: \"local:\", \"redis://...\" or \"rediss://...\" is wanted", c->file);
}

/* Without and with implicit TLS. */
static const unsigned usual_ports[][2] = {[CONF_IMAP] = {143, 993},
                                          [CONF_LMTP] = {24, 24},
                                          [CONF_POP3] = {110, 995},
                                          [CONF_SUBMISSION] = {587, 465},
                                          [CONF_HTTP] = {8080, 8443}};

static int finish_listener(struct conf *c, struct conf_listener *l, struct error *err)
{
    struct in6_addr scratch;

    if (*l->path) {
        if (strcmp(l->address, "*") != 0 || l->port != 0)
            return error_set(err, ERR_INVALID,
                             "%s:%u: a listener has either path, or address and port", c->file,
                             l->line);
        l->path = below_data(c, l->path);
        return 0;
    }
    if (strcmp(l->address, "*") != 0 && inet_pton(AF_INET, l->address, &scratch) != 1 &&
        inet_pton(AF_INET6, l->address, &scratch) != 1)
        return error_set(err, ERR_INVALID, "%s:%u: \"%s\" is no numeric address, nor \"*\"",
                         c->file, l->line, l->address);
    if (l->port == 0)
        l->port = usual_ports[l->protocol][l->tls == CONF_TLS_IMPLICIT];
    return 0;
}

static int finish_lists(struct conf *c, struct error *err)
{
    for (size_t i = 0; i < c->listeners.n; i++) {
        int r = finish_listener(c, &c->listeners.items[i], err);

        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < c->tls.certificates.n; i++) {
        struct conf_certificate *t = &c->tls.certificates.items[i];

        if (!*t->certificate)
            return error_set(err, ERR_INVALID, "%s:%u: tls.certificates: certificate is missing",
                             c->file, t->line);
        t->certificate = below_data(c, t->certificate);
        t->key = below_data(c, t->key);
    }
    c->tls.client_authorities = below_data(c, c->tls.client_authorities);
    for (size_t i = 0; i < c->auth.oauth.n; i++) {
        struct conf_issuer *issuer = &c->auth.oauth.items[i];

        if (!strstr(issuer->keys, "://"))
            issuer->keys = below_data(c, issuer->keys);
        issuer->cafile = below_data(c, issuer->cafile);
    }
    return 0;
}

static int finish_routes(struct conf *c, struct error *err)
{
    for (size_t i = 0; i < c->sending.routes.n; i++) {
        struct conf_route *r = &c->sending.routes.items[i];

        if (!*r->host)
            return error_set(err, ERR_INVALID, "%s:%u: sending.routes: host is missing", c->file,
                             r->line);
        if (*r->user && !*r->password)
            return error_set(err, ERR_INVALID, "%s:%u: sending.routes: a user needs a password",
                             c->file, r->line);
        if (r->port == 0)
            r->port = r->tls == CONF_ROUTE_IMPLICIT ? 465 : *r->user ? 587 : 25;
    }
    return 0;
}

static void finish_numbers(struct conf *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = cores < 1 ? 1 : cores > 256 ? 256 : (unsigned)cores;

    if (c->threads.loops == 0)
        c->threads.loops = n;
    if (c->threads.workers == 0)
        c->threads.workers = MAX(16 * n, 64u);
    if (c->auth.hash_threads == 0)
        c->auth.hash_threads = n;
}

/* RFC 3865 section 2.2: each begins with a letter. */
static bool are_classes(const char *list)
{
    bool first = true;

    for (const char *p = list; *p; p++) {
        bool alpha = byte_is_alpha((uint8_t)*p);

        if (*p != ' ' && !alpha && (first || (!byte_is_digit((uint8_t)*p) && !strchr(".-_:", *p))))
            return false;
        first = *p == ' ';
    }
    return true;
}

static int finish_names(struct conf *c, struct error *err)
{
    char host[256] = "";
    char d = c->delivery.delimiter[0];

    if (!*c->hostname) {
        if (gethostname(host, sizeof host - 1) < 0 || !*host)
            strncpy(host, "localhost", sizeof host - 1);
        c->hostname = arena_str(&c->arena, slice_str(host));
    }
    for (const char *p = c->hostname; *p; p++)
        if (!byte_is_alpha((uint8_t)*p) && !byte_is_digit((uint8_t)*p) && *p != '.' && *p != '-')
            return error_set(err, ERR_INVALID, "%s: hostname: \"%s\" is no host name", c->file,
                             c->hostname);
    if (d && (byte_is_alpha((uint8_t)d) || byte_is_digit((uint8_t)d) || strchr("@\". ", d)))
        return error_set(err, ERR_INVALID, "%s: delivery.delimiter: '%c' cannot be one", c->file,
                         d);
    if (!are_classes(c->submission.no_solicit))
        return error_set(err, ERR_INVALID,
                         "%s: submission.no_solicit: \"%s\" is no list of classes", c->file,
                         c->submission.no_solicit);
    if ((c->auth.scram_iterations != 0 && c->auth.scram_iterations < 4096) ||
        (c->auth.scram_sha1_iterations != 0 && c->auth.scram_sha1_iterations < 4096))
        return error_set(
            err, ERR_INVALID,
            "%s: auth.scram_iterations, scram_sha1_iterations: 0, or 4096 to 65536, is allowed",
            c->file);
    return 0;
}

static int finish(struct conf *c, struct error *err)
{
    int r;

    if (*c->data != '/') {
        CLEANUP_FREE char *cwd = getcwd(NULL, 0);

        c->data = arena_printf(&c->arena, "%s/%s", cwd ? cwd : "", c->data);
    }
    finish_numbers(c);
    if ((r = finish_store(c, err)) < 0 || (r = finish_bus(c, err)) < 0 ||
        (r = finish_names(c, err)) < 0)
        return r;
    if ((r = finish_lists(c, err)) < 0 || (r = finish_routes(c, err)) < 0)
        return r;
    for (const struct conf_row *row = conf_rows; r == 0 && row->name; row++)
        r = value_check(row, c, &(struct conf_place){c->file, row->name}, err);
    return r;
}

static int make(const config_t *parsed, const char *name, struct conf **ret, struct error *err)
{
    struct conf *c = NEW(struct conf);
    int r;

    c->file = arena_str(&c->arena, slice_str(name));
    r = parsed ? check_unknown(config_root_setting(parsed), c->file, err) : 0;
    if (r == 0)
        r = read_rows(c, parsed, err);
    if (r == 0)
        r = finish(c, err);
    if (r == 0)
        *ret = c;
    else
        conf_free(c);
    return r;
}

static int parse_error(const config_t *c, const char *name, struct error *err)
{
    const char *file = config_error_file(c) ? config_error_file(c) : name;

    return error_set(err, ERR_INVALID, "%s:%d: %s", file, config_error_line(c),
                     config_error_text(c) ? config_error_text(c) : "cannot be read");
}

int conf_parse(const char *text, const char *name, struct conf **ret, struct error *err)
{
    CLEANUP(config_done) config_t c;

    config_init(&c);
    if (config_read_string(&c, text) != CONFIG_TRUE)
        return parse_error(&c, name, err);
    return make(&c, name, ret, err);
}

static void close_file(FILE **f)
{
    if (*f)
        fclose(*f);
}

int conf_load(const char *path, struct conf **ret, struct error *err)
{
    CLEANUP(config_done) config_t c;
    CLEANUP(close_file) FILE *f = NULL;
    CLEANUP_FREE char *folder = NULL;

    config_init(&c);
    if (!path)
        return make(NULL, "", ret, err);
    f = fopen(path, "re");
    if (!f)
        return error_set(err, errno == ENOENT ? ERR_NOTFOUND : ERR_NOPERM, "%s: %s", path,
                         strerror(errno));
    /* @include "other.conf" stands beside the file that says so. */
    folder = strrchr(path, '/') ? mem_printf("%.*s", (int)(strrchr(path, '/') - path), path)
                                : mem_strdup(".");
    config_set_include_dir(&c, *folder ? folder : "/");
    if (config_read(&c, f) != CONFIG_TRUE)
        return parse_error(&c, path, err);
    return make(&c, path, ret, err);
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    arena_done(&c->arena);
    free(c);
}

/* ---- questions ---- */

size_t conf_needs_restart(const struct conf *running, const struct conf *fresh, struct buf *names)
{
    CLEANUP(buf_done) struct buf a = buf_make(FILE_MAX), b = buf_make(FILE_MAX);
    size_t n = 0;

    for (const struct conf_row *row = conf_rows; row->name; row++) {
        if (row->type == CONF_SECTION || row->reload)
            continue;
        buf_reset(&a, FILE_MAX);
        buf_reset(&b, FILE_MAX);
        value_write(row, running, false, &a);
        value_write(row, fresh, false, &b);
        if (!slice_eq(buf_slice(&a), buf_slice(&b)))
            buf_printf(names, "%s%s", n++ ? ", " : "", row->name);
    }
    return n;
}

static bool same_place(const struct conf_listener *a, const struct conf_listener *b)
{
    if (*a->path || *b->path)
        return strcmp(a->path, b->path) == 0;
    return a->port == b->port && strcmp(a->address, b->address) == 0;
}

int conf_check_serve(const struct conf *c, struct error *err)
{
    if (c->listeners.n == 0)
        return error_set(err, ERR_INVALID, "%s: listeners: there are none", c->file);
    for (size_t i = 0; i < c->listeners.n; i++) {
        const struct conf_listener *l = &c->listeners.items[i];

        if (l->proxy && c->proxy.networks.n == 0 && !*l->path)
            return error_set(err, ERR_INVALID,
                             "%s:%u: a listener with proxy = true needs proxy.networks", c->file,
                             l->line);
        for (size_t j = 0; j < i; j++)
            if (same_place(l, &c->listeners.items[j]))
                return error_set(err, ERR_INVALID, "%s:%u: another listener has this place",
                                 c->file, l->line);
    }
    for (size_t i = 0; i < c->tls.certificates.n; i++) {
        const struct conf_certificate *t = &c->tls.certificates.items[i];
        const char *key = *t->key ? t->key : t->certificate;

        if (access(t->certificate, R_OK) < 0 || access(key, R_OK) < 0)
            return error_set(err, ERR_INVALID, "%s:%u: %s: %s", c->file, t->line,
                             access(t->certificate, R_OK) < 0 ? t->certificate : key,
                             strerror(errno));
    }
    return 0;
}

/* ---- networks ---- */

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

bool conf_network_has(const struct conf_network *list, size_t n, const struct in6_addr *address)
{
    for (size_t i = 0; i < n; i++)
        if (bits_equal(list[i].address.s6_addr, address->s6_addr, list[i].bits))
            return true;
    return false;
}

static bool zero_behind(const uint8_t *address, unsigned bits)
{
    for (unsigned i = bits; i < 128; i++)
        if (address[i / 8] >> (7 - i % 8) & 1)
            return false;
    return true;
}

int conf_network_parse(const char *text, struct conf_network *ret)
{
    struct conf_network net = {.bits = 128};
    const char *slash = strchrnul(text, '/');
    char address[INET6_ADDRSTRLEN];
    uint64_t bits = 128;
    bool v4;

    if ((size_t)(slash - text) >= sizeof address)
        return -ERR_INVALID;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    v4 = inet_pton(AF_INET, address, &net.address.s6_addr[12]) == 1;
    if (v4)
        net.address.s6_addr[10] = net.address.s6_addr[11] = 0xff;
    else if (inet_pton(AF_INET6, address, &net.address) != 1)
        return -ERR_INVALID;
    if (*slash && !slice_to_u64(slice_str(slash + 1), v4 ? 32 : 128, &bits))
        return -ERR_INVALID;
    if (*slash)
        net.bits = (unsigned)bits + (v4 ? 96 : 0);
    if (!zero_behind(net.address.s6_addr, net.bits))
        return -ERR_INVALID;
    *ret = net;
    return 0;
}
