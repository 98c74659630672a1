/* SPDX-License-Identifier: MPL-2.0 */
/* Every kind of source is first made a list of messages (file, offset, length, mailbox, flags);
 * reading is the same for all of them. The list costs about 100 bytes a message. */
#include "daemons/import_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define WALK_DEPTH   32
#define KEYWORDS_MAX 26 /* letters in a Maildir file name */
#define PIECE        ((size_t)64 << 10)

struct item {
    char *path;
    char *mailbox; /* shared by the items of one folder, see `names` */
    uint64_t offset, length;
    int64_t date;
    uint8_t flags;
    bool mbox;
    const char **keywords; /* in the arena */
    size_t n_keywords;
};

struct source {
    enum source_kind kind;
    VEC(struct item) items;
    VEC(char *) names; /* everything that items point at */
    struct arena arena;
    uint64_t octets;
    size_t next;
    char *id;
};

static int fail(struct error *err, const char *path)
{
    enum err kind = errno == ENOENT ? ERR_NOTFOUND : errno == EACCES ? ERR_NOPERM : ERR_UNAVAILABLE;

    return error_set(err, kind, "%s: %s", path, strerror(errno));
}

static char *keep(struct source *s, char *name)
{
    *VEC_PUSH(&s->names) = name;
    return name;
}

static struct item *add_item(struct source *s, char *path, char *mailbox, uint64_t octets)
{
    struct item *it = VEC_PUSH(&s->items);

    *it = (struct item){.path = keep(s, path), .mailbox = mailbox, .length = octets};
    s->octets += octets;
    return it;
}

/* Calls f for each entry, in order of name. */
static int each_entry(const char *path,
                      int (*f)(void *ctx, const char *path, const char *name, struct error *err),
                      void *ctx, struct error *err)
{
    struct dirent **list;
    int n = scandir(path, &list, NULL, alphasort), res = 0;

    if (n < 0)
        return fail(err, path);
    for (int i = 0; i < n; i++) {
        bool dots = strcmp(list[i]->d_name, ".") == 0 || strcmp(list[i]->d_name, "..") == 0;
        CLEANUP_FREE char *full = mem_printf("%s/%s", path, list[i]->d_name);

        if (!dots && res == 0)
            res = f(ctx, full, list[i]->d_name, err);
        free(list[i]);
    }
    free(list);
    return res;
}

/* --- Maildir
 * --------------------------------------------------------------------------------------- */

struct folder {
    struct source *source;
    char *mailbox;
    const char *keywords[KEYWORDS_MAX]; /* by letter */
};

/* "0 $Work" a line: the number is the letter's. */
static void read_keywords(struct folder *f, const char *path)
{
    CLEANUP_FREE char *file = mem_printf("%s/dovecot-keywords", path);
    FILE *in = fopen(file, "r");
    char line[300], word[256];
    unsigned number;

    if (!in)
        return;
    while (fgets(line, sizeof line, in))
        if (sscanf(line, "%2u %255s", &number, word) == 2 && number < KEYWORDS_MAX)
            f->keywords[number] = arena_str(&f->source->arena, slice_str(word));
    fclose(in);
}

static void maildir_flags(struct folder *f, struct item *it, const char *name)
{
    static const struct {
        char letter;
        uint8_t flag;
    } flags[] = {{'S', FLAG_SEEN},
                 {'R', FLAG_ANSWERED},
                 {'F', FLAG_FLAGGED},
                 {'T', FLAG_DELETED},
                 {'D', FLAG_DRAFT}};
    const char *info = strstr(name, ":2,");

    if (!info)
        return;
    it->keywords = arena_array(&f->source->arena, KEYWORDS_MAX, sizeof *it->keywords);
    for (const char *p = info + 3; *p && *p != ','; p++) {
        for (size_t i = 0; i < ARRAY_LEN(flags); i++)
            if (*p == flags[i].letter)
                it->flags |= flags[i].flag;
        if (*p >= 'a' && *p <= 'z' && f->keywords[*p - 'a'] && it->n_keywords < KEYWORDS_MAX)
            it->keywords[it->n_keywords++] = f->keywords[*p - 'a'];
    }
}

static int maildir_file(void *ctx, const char *path, const char *name, struct error *err)
{
    struct folder *f = ctx;
    struct stat st;
    struct item *it;

    if (name[0] == '.' || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    it = add_item(f->source, mem_strdup(path), f->mailbox, (uint64_t)st.st_size);
    it->date = st.st_mtime;
    maildir_flags(f, it, name);
    return 0;
}

/* ".Lists.C" -> "Lists/C"; folder names are in modified UTF-7, or else taken as they are. */
static char *maildir_name(const char *name)
{
    CLEANUP(buf_done) struct buf mailbox = buf_make(4096);

    if (name[0] == '.')
        name++;
    if (mutf7_decode(&mailbox, slice_str(name)) < 0) {
        buf_reset(&mailbox, 4096);
        buf_add_str(&mailbox, name);
    }
    for (size_t i = 0; i < mailbox.n; i++)
        if (mailbox.p[i] == '.')
            mailbox.p[i] = '/';
    return mem_strdup(buf_cstr(&mailbox));
}

static int maildir_folder(struct source *s, const char *path, const char *name, struct error *err)
{
    struct folder f = {.source = s, .mailbox = keep(s, maildir_name(name))};
    CLEANUP_FREE char *cur = mem_printf("%s/cur", path), *new = mem_printf("%s/new", path);
    int res;

    read_keywords(&f, path);
    res = each_entry(cur, maildir_file, &f, err);
    if (res == 0 && access(new, F_OK) == 0)
        res = each_entry(new, maildir_file, &f, err);
    return res;
}

static int maildir_sub(void *ctx, const char *path, const char *name, struct error *err)
{
    CLEANUP_FREE char *cur = mem_printf("%s/cur", path);

    if (name[0] != '.' || access(cur, F_OK) < 0)
        return 0;
    return maildir_folder(ctx, path, name, err);
}

static int open_maildir(struct source *s, const char *path, struct error *err)
{
    int res = maildir_folder(s, path, "", err);

    return res == 0 ? each_entry(path, maildir_sub, s, err) : res;
}

/* --- mbox
 * ------------------------------------------------------------------------------------------- */

/* "From sender Sat Nov 21 10:11:12 2026" (asctime, perhaps with a zone, which is not looked at). */
static int64_t from_line_date(const char *line)
{
    struct civil c = {0};
    char month[4];
    const char *p = line + 5;

    for (; (p = strchr(p, ' ')); p++) {
        if (sscanf(p, " %*3s %3s %d %d:%d:%d %d", month, &c.day, &c.hour, &c.minute, &c.second,
                   &c.year) != 6)
            continue;
        for (c.month = 1; c.month <= 12; c.month++)
            if (strcmp(month, clock_month_names[c.month - 1]) == 0 && civil_valid(&c))
                return civil_to_unix(&c);
    }
    return 0;
}

struct mbox_reader {
    struct source *source;
    struct item *item; /* NULL before the first From_ line */
    bool in_header;
};

static void mbox_status(struct item *it, const char *value)
{
    for (; *value; value++)
        it->flags |= *value == 'R'   ? FLAG_SEEN
                     : *value == 'A' ? FLAG_ANSWERED
                     : *value == 'F' ? FLAG_FLAGGED
                     : *value == 'D' ? FLAG_DELETED
                     : *value == 'T' ? FLAG_DRAFT
                                     : 0;
}

static void mbox_keywords(struct source *s, struct item *it, const char *value)
{
    it->keywords = arena_array(&s->arena, KEYWORDS_MAX, sizeof *it->keywords);
    while (it->n_keywords < KEYWORDS_MAX) {
        size_t n;

        value += strspn(value, " \t\r\n");
        n = strcspn(value, " \t\r\n");
        if (!n)
            return;
        it->keywords[it->n_keywords++] = arena_str(&s->arena, slice_of(value, n));
        value += n;
    }
}

static void mbox_header_line(struct mbox_reader *r, const char *line)
{
    if (line[0] == '\n' || line[0] == '\r')
        r->in_header = false;
    else if (strncasecmp(line, "Status:", 7) == 0)
        mbox_status(r->item, line + 7);
    else if (strncasecmp(line, "X-Status:", 9) == 0)
        mbox_status(r->item, line + 9);
    else if (strncasecmp(line, "X-Keywords:", 11) == 0 && !r->item->n_keywords)
        mbox_keywords(r->source, r->item, line + 11);
}

static bool is_blank_line(const char *line)
{
    return line[0] == '\n' || (line[0] == '\r' && line[1] == '\n');
}

static int mbox_file(struct source *s, const char *path, char *mailbox, struct error *err)
{
    struct mbox_reader r = {.source = s};
    FILE *in = fopen(path, "r");
    CLEANUP_FREE char *line = NULL;
    size_t cap = 0;
    uint64_t at = 0;
    bool blank = true, was_blank = true;
    ssize_t n;

    if (!in)
        return fail(err, path);
    for (; (n = getline(&line, &cap, in)) > 0; at += (uint64_t)n, was_blank = blank) {
        blank = is_blank_line(line);
        if (was_blank && strncmp(line, "From ", 5) == 0) {
            r.item = add_item(s, mem_strdup(path), mailbox, 0);
            r.item->mbox = true;
            r.item->offset = at + (uint64_t)n;
            r.item->date = from_line_date(line);
            r.in_header = true;
        } else if (r.item) {
            if (r.in_header)
                mbox_header_line(&r, line);
            r.item->length = at + (uint64_t)n - r.item->offset;
        }
    }
    fclose(in);
    s->octets += at;
    return r.item || at == 0
               ? 0
               : error_set(err, ERR_INVALID,
                           "%s: this is no mbox file (no \"From \" line at its start)", path);
}

static int mbox_entry(void *ctx, const char *path, const char *name, struct error *err)
{
    struct source *s = ctx;
    struct stat st;

    if (name[0] == '.' || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return mbox_file(s, path, keep(s, mem_strdup(name)), err);
}

static int open_mbox(struct source *s, const char *path, struct error *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return fail(err, path);
    if (S_ISDIR(st.st_mode))
        return each_entry(path, mbox_entry, s, err);
    return mbox_file(s, path, keep(s, mem_strdup("")), err);
}

/* --- eml
 * -------------------------------------------------------------------------------------------- */

struct walk {
    struct source *source;
    unsigned depth;
};

static int eml_entry(void *ctx, const char *path, const char *name, struct error *err)
{
    struct walk *w = ctx;
    struct stat st;
    int res;

    if (name[0] == '.')
        return 0;
    if (stat(path, &st) < 0)
        return fail(err, path);
    if (S_ISREG(st.st_mode)) {
        add_item(w->source, mem_strdup(path), keep(w->source, mem_strdup("")), (uint64_t)st.st_size)
            ->date = st.st_mtime;
        return 0;
    }
    if (!S_ISDIR(st.st_mode))
        return 0;
    if (++w->depth > WALK_DEPTH)
        return error_set(err, ERR_LIMIT, "%s: folders are nested too deep", path);
    res = each_entry(path, eml_entry, w, err);
    w->depth--;
    return res;
}

/* --- all
 * -------------------------------------------------------------------------------------------- */

static int open_path(struct source *s, const char *path, struct error *err)
{
    struct walk w = {.source = s};

    switch (s->kind) {
    case SOURCE_MAILDIR:
        return open_maildir(s, path, err);
    case SOURCE_MBOX:
        return open_mbox(s, path, err);
    case SOURCE_EML:
        return eml_entry(&w, path, "file", err);
    }
    return error_set(err, ERR_INVALID, "no such kind of source");
}

int source_open(enum source_kind kind, const char *const *paths, size_t n_paths,
                struct source **ret_source, struct error *err)
{
    struct source *s = NEW(struct source);

    s->kind = kind;
    for (size_t i = 0; i < n_paths; i++) {
        int res = open_path(s, paths[i], err);

        if (res < 0) {
            source_close(s);
            return res;
        }
    }
    *ret_source = s;
    return 0;
}

void source_close(struct source *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->names.n; i++)
        free(s->names.items[i]);
    VEC_DONE(&s->names);
    VEC_DONE(&s->items);
    arena_done(&s->arena);
    free(s->id);
    free(s);
}

uint64_t source_count(const struct source *s)
{
    return s->items.n;
}

uint64_t source_octets(const struct source *s)
{
    return s->octets;
}

/* A Maildir file keeps the part of its name before the flags; an mbox message its place. */
static char *item_id(const struct item *it)
{
    const char *name = strrchr(it->path, '/'), *info;

    if (it->mbox)
        return mem_printf("%s@%llu+%llu", it->path, (unsigned long long)it->offset,
                          (unsigned long long)it->length);
    name = name ? name + 1 : it->path;
    info = strstr(name, ":2,");
    return mem_printf("%s/%.*s", it->mailbox, (int)(info ? info - name : (ptrdiff_t)strlen(name)),
                      name);
}

int source_next(struct source *s, struct source_item *ret, struct error *err)
{
    const struct item *it;

    if (s->next == s->items.n)
        return 0;
    it = &s->items.items[s->next++];
    free(s->id);
    s->id = s->kind == SOURCE_EML ? mem_strdup(it->path) : item_id(it);
    *ret = (struct source_item){.id = s->id,
                                .mailbox = it->mailbox,
                                .octets = it->length,
                                .date = it->date,
                                .flags = it->flags,
                                .keywords = it->keywords,
                                .n_keywords = it->n_keywords};
    return 1;
}

/* Line ends to CRLF, and for mbox one ">" off; in pieces. */
struct filter {
    struct buf out;
    bool mbox, after_cr, line_start;
    struct buf quote; /* ">>" at the start of a line, until it is known what follows */
};

static void filter_byte(struct filter *f, uint8_t c)
{
    if (c == '\n' && !f->after_cr)
        buf_add_byte(&f->out, '\r');
    buf_add_byte(&f->out, c);
    f->after_cr = c == '\r';
    f->line_start = c == '\n';
}

/* At a line start of an mbox: holds back ">...>From " as far as it goes. */
static void filter_mbox_byte(struct filter *f, uint8_t c)
{
    static const char from[] = "From ";
    struct slice held = buf_slice(&f->quote);
    size_t marks = 0, n;

    if (!held.n && !(f->line_start && c == '>')) {
        filter_byte(f, c);
        return;
    }
    buf_add_byte(&f->quote, c);
    held = buf_slice(&f->quote);
    while (marks < held.n && held.p[marks] == '>')
        marks++;
    n = held.n - marks;
    if (n < 5 && memcmp(held.p + marks, from, n) == 0 && marks < 1000)
        return;
    if (n == 5 && memcmp(held.p + marks, from, 5) == 0)
        held = slice_skip(held, 1);
    for (size_t i = 0; i < held.n; i++)
        filter_byte(f, held.p[i]);
    f->quote.n = 0;
}

static void filter_flush(struct filter *f)
{
    for (size_t i = 0; i < f->quote.n; i++)
        filter_byte(f, f->quote.p[i]);
    f->quote.n = 0;
}

static int read_range(int fd, const struct item *it, struct filter *f,
                      int (*feed)(void *ctx, struct slice bytes, struct error *err), void *ctx,
                      struct error *err)
{
    CLEANUP_FREE uint8_t *piece = mem_alloc(PIECE);
    uint64_t left = it->length;
    int res = 0;

    while (left && res == 0) {
        size_t want = left < PIECE ? (size_t)left : PIECE;
        ssize_t n = pread(fd, piece, want, (off_t)(it->offset + it->length - left));

        if (n < 0)
            return fail(err, it->path);
        if (n == 0)
            return error_set(err, ERR_NOTFOUND, "%s: shorter than it was", it->path);
        for (ssize_t i = 0; i < n; i++)
            (f->mbox ? filter_mbox_byte : filter_byte)(f, piece[i]);
        left -= (uint64_t)n;
        if (!left)
            filter_flush(f);
        res = feed(ctx, buf_slice(&f->out), err);
        f->out.n = 0;
    }
    return res;
}

/* The blank line before the next From_ line belongs to the mbox, not to the message. */
static uint64_t without_separator(int fd, const struct item *it)
{
    char tail[4] = {0};
    size_t n = it->length < 4 ? (size_t)it->length : 4;

    if (pread(fd, tail, n, (off_t)(it->offset + it->length - n)) != (ssize_t)n)
        return it->length;
    if (n >= 4 && memcmp(tail, "\r\n\r\n", 4) == 0)
        return it->length - 2;
    return n >= 2 && memcmp(tail + n - 2, "\n\n", 2) == 0 ? it->length - 1 : it->length;
}

int source_read(struct source *s, int (*feed)(void *ctx, struct slice bytes, struct error *err),
                void *ctx, struct error *err)
{
    struct item it = s->items.items[s->next - 1];
    struct filter f = {
        .out = buf_make(4 * PIECE), .mbox = it.mbox, .line_start = true, .quote = buf_make(2048)};
    CLEANUP_FD int fd = open(it.path, O_RDONLY | O_CLOEXEC);
    int res;

    if (fd < 0)
        return fail(err, it.path);
    if (it.mbox)
        it.length = without_separator(fd, &it);
    res = read_range(fd, &it, &f, feed, ctx, err);
    buf_done(&f.out);
    buf_done(&f.quote);
    return res;
}
