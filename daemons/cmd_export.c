/* SPDX-License-Identifier: MPL-2.0 */
/* eider export: an account's mail as a Maildir or as mbox files, that other programs (and eider
 * import) read. What is exported is the account at one moment; nothing there is overwritten. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemons/cmd.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mail/message.h"

#define PIECE           ((size_t)256 << 10)
#define KEYWORD_LETTERS 26

enum { OPT_ACCOUNT = 'a', OPT_MAILBOX = 'm', OPT_EXACT = 256 };

static const struct cmd_option options[] = {
    {OPT_ACCOUNT, "account", "LOGIN", "whose mail"},
    {OPT_MAILBOX, "mailbox", "NAME", "only this mailbox (may be given more than once)"},
    {OPT_EXACT, "exact", NULL, "keep CRLF line ends (default: LF, as local files have them)"},
    {0}};

struct export
{
    struct cmd *c;
    struct account *account;
    struct state *st;
    const char *to;
    bool exact;
    uint64_t messages;
    char hostname[65];
};

static int fail_errno(struct export *x, const char *path)
{
    error_set(&x->c->error, errno == EEXIST ? ERR_EXISTS : ERR_NOPERM, "%s: %s", path,
              strerror(errno));
    return cmd_fail(x->c, NULL);
}

/* --- the bytes of one message --------------------------------------------------------------------
 */

struct sink {
    FILE *out;
    bool exact, mbox, line_start, pending_cr;
};

/* A line that begins with any number of ">" and then "From " gets one ">" more (mboxrd). The marks
 * are written as they come: one more at their front is the same as one more at their end. */
static void sink_byte(struct sink *s, uint8_t c)
{
    if (s->pending_cr && c != '\n')
        fputc('\r', s->out);
    s->pending_cr = !s->exact && c == '\r';
    if (s->pending_cr)
        return;
    fputc(c, s->out);
    s->line_start = c == '\n';
}

static size_t quote_at(struct slice line)
{
    size_t n = 0;

    while (n < line.n && line.p[n] == '>')
        n++;
    return slice_starts(slice_skip(line, n), S("From ")) ? 1 : 0;
}

/* `bytes` begins at a line start wherever s->line_start says so, and lines are looked at within one
 * piece: pieces are cut behind line ends by the caller where it can. */
static void sink_bytes(struct sink *s, struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        if (s->mbox && s->line_start && quote_at(slice_skip(bytes, i)))
            fputc('>', s->out);
        s->line_start = false;
        sink_byte(s, bytes.p[i]);
    }
}

/* The last line end in the piece, so that no line start is cut; all of it if there is none. */
static size_t whole_lines(struct slice piece, bool last)
{
    const uint8_t *lf = last || !piece.p ? NULL : memrchr(piece.p, '\n', piece.n);

    return lf ? (size_t)(lf - piece.p) + 1 : piece.n;
}

static int write_message(struct export *x, uint64_t id, struct sink *s)
{
    struct message_reader *r;
    struct buf piece = buf_make(2 * PIECE);
    uint64_t size, at = 0;
    int res = message_open(x->account, id, &r, &x->c->error);

    if (res < 0)
        return res;
    size = message_size(r);
    while (at < size && res == 0) {
        size_t n;

        piece.n = 0;
        res = message_read(r, at, PIECE, &piece, &x->c->error);
        n = whole_lines(buf_slice(&piece), at + piece.n >= size);
        sink_bytes(s, slice_sub(buf_slice(&piece), 0, n));
        at += n;
        if (res == 0 && !n)
            res = error_set(&x->c->error, ERR_INTERNAL, "a message is shorter than it should be");
    }
    if (s->pending_cr)
        fputc('\r', s->out);
    buf_done(&piece);
    message_close(r);
    return res;
}

/* --- Maildir
 * ---------------------------------------------------------------------------------------- */

struct maildir {
    struct export *x;
    char *folder;
    VEC(struct slice) keywords; /* by letter */
};

static int make_folder(struct export *x, const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? fail_errno(x, path) : 0;
}

static int maildir_make(struct maildir *d)
{
    static const char *const parts[] = {"", "/cur", "/new", "/tmp"};
    int code = 0;

    for (size_t i = 0; i < ARRAY_LEN(parts) && code == 0; i++) {
        CLEANUP_FREE char *path = mem_printf("%s%s", d->folder, parts[i]);

        code = make_folder(d->x, path);
    }
    return code;
}

/* A Maildir++ folder: levels parted by ".", modified UTF-7, INBOX is the Maildir itself. */
static char *maildir_folder(struct export *x, const char *mailbox)
{
    CLEANUP(buf_done) struct buf name = buf_make(8192);

    if (strcmp(mailbox, "INBOX") == 0)
        return mem_strdup(x->to);
    if (mutf7_encode(&name, slice_str(mailbox)) < 0)
        buf_add_str(&name, mailbox);
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '.')
            name.p[i] = '_';
        else if (name.p[i] == '/')
            name.p[i] = '.';
    return mem_printf("%s/.%s", x->to, buf_cstr(&name));
}

static void add_letter(struct maildir *d, struct slice keyword, struct buf *info)
{
    size_t i = 0;

    while (i < d->keywords.n && !slice_eq(d->keywords.items[i], keyword))
        i++;
    if (i == KEYWORD_LETTERS)
        return; /* the format has no more letters */
    if (i == d->keywords.n)
        *VEC_PUSH(&d->keywords) = keyword;
    buf_add_byte(info, (uint8_t)('a' + i));
}

static char *maildir_file(struct maildir *d, const struct message *m)
{
    static const struct {
        char letter;
        uint8_t flag;
    } flags[] = {{'D', FLAG_DRAFT},
                 {'F', FLAG_FLAGGED},
                 {'R', FLAG_ANSWERED},
                 {'S', FLAG_SEEN},
                 {'T', FLAG_DELETED}};
    CLEANUP(buf_done) struct buf info = buf_make(100);

    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (m->flags->system & flags[i].flag)
            buf_add_byte(&info, (uint8_t)flags[i].letter);
    for (size_t i = 0; i < m->flags->n_keywords; i++)
        add_letter(d, m->flags->keywords[i], &info);
    return mem_printf("%s/cur/%lld.M%016llxU%u.%s:2,%s", d->folder, (long long)m->date,
                      (unsigned long long)m->id, m->uid, d->x->hostname, buf_cstr(&info));
}

static int maildir_message(struct maildir *d, const struct message *m)
{
    CLEANUP_FREE char *path = maildir_file(d, m);
    struct timespec times[2] = {{.tv_sec = m->date}, {.tv_sec = m->date}};
    struct sink s = {.exact = d->x->exact};
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600), res;

    if (fd < 0)
        return fail_errno(d->x, path);
    s.out = fdopen(fd, "w");
    res = write_message(d->x, m->id, &s);
    if (fflush(s.out) == EOF && res == 0)
        res = error_set(&d->x->c->error, ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    futimens(fd, times);
    fclose(s.out);
    if (res < 0)
        unlink(path);
    return res < 0 ? cmd_fail(d->x->c, path) : 0;
}

static int maildir_keywords(struct maildir *d)
{
    CLEANUP_FREE char *path = mem_printf("%s/dovecot-keywords", d->folder);
    FILE *f;

    if (!d->keywords.n)
        return 0;
    f = fopen(path, "w");
    if (!f)
        return fail_errno(d->x, path);
    for (size_t i = 0; i < d->keywords.n; i++)
        fprintf(f, "%zu %.*s\n", i, SLICE_FMT(d->keywords.items[i]));
    return fclose(f) == EOF ? fail_errno(d->x, path) : 0;
}

static int export_maildir(struct export *x, const struct mailbox *box)
{
    struct maildir d = {.x = x, .folder = maildir_folder(x, box->name)};
    struct mailbox_iter i = mailbox_iter(box, 0);
    struct message m;
    int code = maildir_make(&d);

    while (code == 0 && mailbox_next(&i, &m)) {
        code = maildir_message(&d, &m);
        x->messages++;
    }
    if (code == 0)
        code = maildir_keywords(&d);
    VEC_DONE(&d.keywords);
    free(d.folder);
    return code;
}

/* --- mbox
 * -------------------------------------------------------------------------------------------- */

static char *mbox_path(struct export *x, const char *mailbox)
{
    char *name = mem_strdup(mailbox), *path;

    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '.';
    path = mem_printf("%s/%s", x->to, name[0] == '.' ? name + 1 : name);
    free(name);
    return path;
}

/* The From_ line, and the flags as header fields that mbox readers know; these are all that is
 * added. */
static void mbox_head(FILE *out, const struct message *m, const char *nl)
{
    struct civil c = civil_from_unix(m->date, 0);
    uint8_t f = m->flags->system;

    fprintf(out, "From MAILER-DAEMON %s %s %2d %02d:%02d:%02d %04d%s",
            clock_day_names[civil_weekday(&c)], clock_month_names[c.month - 1], c.day, c.hour,
            c.minute, c.second, c.year, nl);
    fprintf(out, "Status: %sO%s", f & FLAG_SEEN ? "R" : "", nl);
    fprintf(out, "X-Status: %s%s%s%s%s", f & FLAG_ANSWERED ? "A" : "", f & FLAG_FLAGGED ? "F" : "",
            f & FLAG_DRAFT ? "T" : "", f & FLAG_DELETED ? "D" : "", nl);
    if (m->flags->n_keywords)
        fputs("X-Keywords:", out);
    for (size_t i = 0; i < m->flags->n_keywords; i++)
        fprintf(out, " %.*s", SLICE_FMT(m->flags->keywords[i]));
    if (m->flags->n_keywords)
        fputs(nl, out);
}

static int export_mbox(struct export *x, const struct mailbox *box)
{
    CLEANUP_FREE char *path = mbox_path(x, box->name);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600), res = 0;
    struct sink s = {.exact = x->exact, .mbox = true};
    struct mailbox_iter i = mailbox_iter(box, 0);
    struct message m;

    if (fd < 0)
        return fail_errno(x, path);
    s.out = fdopen(fd, "w");
    while (res == 0 && mailbox_next(&i, &m)) {
        mbox_head(s.out, &m, x->exact ? "\r\n" : "\n");
        s.line_start = true;
        res = write_message(x, m.id, &s);
        if (!s.line_start)
            fputs(x->exact ? "\r\n" : "\n", s.out);
        fputs(x->exact ? "\r\n" : "\n", s.out);
        x->messages++;
    }
    if (fclose(s.out) == EOF && res == 0)
        return fail_errno(x, path);
    return res < 0 ? cmd_fail(x->c, path) : 0;
}

/* --- the command
 * --------------------------------------------------------------------------------------- */

static bool is_wanted(const struct cmd *c, const char *name)
{
    bool any = false;

    for (size_t i = 0; i < c->given_n; i++) {
        if (c->given[i].letter != OPT_MAILBOX)
            continue;
        any = true;
        if (strcmp(c->given[i].arg, name) == 0)
            return true;
    }
    return !any;
}

static int export_all(struct export *x, int (*one)(struct export *x, const struct mailbox *box))
{
    int code = make_folder(x, x->to);
    uint64_t boxes = 0;

    for (size_t i = 0; i < x->st->n_mailboxes && code == 0; i++) {
        struct mailbox *box;

        if (!is_wanted(x->c, x->st->mailboxes[i]->name))
            continue;
        boxes++;
        if (mailbox_load(x->account, x->st, x->st->mailboxes[i]->id, 0, UINT32_MAX, &box,
                         &x->c->error) < 0)
            return cmd_fail(x->c, x->st->mailboxes[i]->name);
        code = one(x, box);
        mailbox_unref(box);
    }
    if (code == 0 && !boxes)
        return error_set(&x->c->error, ERR_NOTFOUND, "there is no such mailbox"),
               cmd_fail(x->c, NULL);
    if (code == 0)
        printf("%llu messages of %llu mailboxes\n", (unsigned long long)x->messages,
               (unsigned long long)boxes);
    return code;
}

static int run(struct cmd *c, int argc, char **argv)
{
    struct export x = {.c = c, .to = argv[1], .exact = cmd_option(c, OPT_EXACT, NULL)};
    bool maildir = strcmp(argv[0], "maildir") == 0;
    struct directory_account found;
    const char *login;
    int code;

    if (!maildir && strcmp(argv[0], "mbox") != 0)
        return cmd_usage_error(c, "export to maildir or mbox, not %s", argv[0]);
    if (!cmd_option(c, OPT_ACCOUNT, &login))
        return cmd_usage_error(c, "which account? Say --account LOGIN");
    code = cmd_open_mail(c);
    if (code == 0)
        code = cmd_find_account(c, login, &found);
    if (code != 0)
        return code;
    gethostname(x.hostname, sizeof x.hostname - 1);
    if (account_open(c->mail, found.id, &x.account, &c->error) < 0)
        return cmd_fail(c, login);
    x.st = account_state(x.account);
    code = export_all(&x, maildir ? export_maildir : export_mbox);
    state_unref(x.st);
    account_unref(x.account);
    return code;
}

const struct command cmd_export = {
    .name = "export",
    .usage = "--account LOGIN [OPTION...] maildir|mbox FOLDER",
    .brief = "write an account's mail into files",
    .help = "Writes a Maildir (Maildir++ folders, flags in the names, dates as the files' times), "
            "or one mbox file (mboxrd) for "
            "each mailbox, into FOLDER, which is made. What is there already is not overwritten. "
            "Servers may run: the mail "
            "of one moment is written.",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
