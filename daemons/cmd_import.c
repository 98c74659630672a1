/* SPDX-License-Identifier: MPL-2.0 */
/* eider import: mail from elsewhere into one account.
 *
 * Messages are committed in batches, each batch one record. What is acknowledged is noted in a
 * progress file, so that a run that was broken off goes on where it stopped. Between the commit and
 * the note a message is protected by its delivery hash (of its place in the source and its bytes,
 * I24): what was committed and not noted is not stored a second time.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "daemons/cmd.h"
#include "daemons/import_source.h"
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/message.h"

#define BATCH_MESSAGES 64
#define BATCH_OCTETS   ((uint64_t)8 << 20)
#define ID_HASH        16
#define TRIES          5 /* of one batch while the store cannot be reached, 2 s apart */

enum {
    OPT_ACCOUNT = 'a',
    OPT_MAILBOX = 'm',
    OPT_PROGRESS = 'p',
    OPT_QUIET = 'q',
    OPT_FRESH = 256,
    OPT_SKIP
};

static const struct cmd_option options[] = {
    {OPT_ACCOUNT, "account", "LOGIN", "the account that gets the mail"},
    {OPT_MAILBOX, "mailbox", "NAME",
     "put it below this mailbox (default: INBOX and the source's own names)"},
    {OPT_PROGRESS, "progress", "FILE", "note here what is done (default: in the data folder)"},
    {OPT_FRESH, "fresh", NULL, "forget an earlier run's progress"},
    {OPT_SKIP, "skip-damaged", NULL, "go on after a message that cannot be read or stored"},
    {OPT_QUIET, "quiet", NULL, "no progress bar"},
    {0}};

/* --- what is done already
 * ------------------------------------------------------------------------- */

struct done_id {
    uint8_t hash[ID_HASH];
    UT_hash_handle hh;
};

struct progress {
    char *path;
    FILE *file;
    struct done_id *ids;
};

static void id_hash(const char *id, uint8_t ret[ID_HASH])
{
    uint8_t hash[SHA256_SIZE];

    digest_sha256(slice_str(id), hash);
    memcpy(ret, hash, ID_HASH);
}

static bool progress_has(const struct progress *p, const uint8_t hash[ID_HASH])
{
    struct done_id *d;

    HASH_FIND(hh, p->ids, hash, ID_HASH, d);
    return d;
}

static void progress_learn(struct progress *p, const uint8_t hash[ID_HASH])
{
    struct done_id *d;

    if (progress_has(p, hash))
        return;
    d = NEW(struct done_id);
    memcpy(d->hash, hash, ID_HASH);
    HASH_ADD(hh, p->ids, hash, ID_HASH, d);
}

static void progress_close(struct progress *p)
{
    struct done_id *d, *next;

    HASH_ITER (hh, p->ids, d, next) {
        HASH_DEL(p->ids, d);
        free(d);
    }
    if (p->file)
        fclose(p->file);
    free(p->path);
}

/* One file for each account and set of paths. */
static char *progress_path(struct cmd *c, uint64_t account, int argc, char **argv)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20), name = buf_make(100);
    CLEANUP_FREE char *folder = mem_printf("%s/import", c->conf->data);
    uint8_t hash[ID_HASH];
    const char *given;

    if (cmd_option(c, OPT_PROGRESS, &given))
        return mem_strdup(given);
    buf_printf(&text, "%016llx", (unsigned long long)account);
    for (int i = 0; i < argc; i++)
        buf_printf(&text, "|%s", argv[i]);
    id_hash(buf_cstr(&text), hash);
    hex_encode(&name, slice_of(hash, 8));
    (void)!mkdir(c->conf->data, 0700); /* both are there already, mostly; fopen will tell */
    (void)!mkdir(folder, 0700);
    return mem_printf("%s/%s", folder, buf_cstr(&name));
}

/* A line is 32 hex digits; a torn last one is not counted. */
static int progress_open(struct cmd *c, struct progress *p)
{
    char line[2 * ID_HASH + 2];

    p->file = fopen(p->path, cmd_option(c, OPT_FRESH, NULL) ? "w+" : "a+");
    if (!p->file) {
        error_set(&c->error, ERR_NOPERM, "%s: %s", p->path, strerror(errno));
        return cmd_fail(c, "progress file");
    }
    rewind(p->file);
    while (fgets(line, sizeof line, p->file)) {
        CLEANUP(buf_done) struct buf hash = buf_make(ID_HASH);

        if (line[2 * ID_HASH] == '\n' && hex_decode(&hash, slice_of(line, 2 * ID_HASH)) == 0)
            progress_learn(p, hash.p);
    }
    return 0;
}

static void progress_note(struct progress *p, const uint8_t hash[ID_HASH])
{
    CLEANUP(buf_done) struct buf line = buf_make(100);

    hex_encode(&line, slice_of(hash, ID_HASH));
    fprintf(p->file, "%s\n", buf_cstr(&line));
    progress_learn(p, hash);
}

/* --- the bar
 * ---------------------------------------------------------------------------------------- */

struct bar {
    bool on;
    uint64_t messages, octets; /* in all */
    uint64_t done, octets_done;
    uint64_t start_octets; /* were there before this run */
    int64_t begun_ms, shown_ms;
};

static void bar_show(struct bar *b, bool last)
{
    int64_t now = clock_mono_ms();
    double seconds = (double)(now - b->begun_ms) / 1000 + 0.001;
    double rate = (double)(b->octets_done - b->start_octets) / seconds;
    uint64_t rest = b->octets > b->octets_done ? b->octets - b->octets_done : 0;
    int left = rate > 1 ? (int)((double)rest / rate) : 0, percent;
    char cells[31];

    if (!b->on || (!last && now - b->shown_ms < 200))
        return;
    b->shown_ms = now;
    percent = b->octets ? (int)(100 * b->octets_done / b->octets) : 100;
    for (int i = 0; i < 30; i++)
        cells[i] = i < percent * 30 / 100 ? '#' : '.';
    cells[30] = '\0';
    fprintf(stderr, "\r[%s] %3d %%  %llu of %llu  %.1f MB/s  %d:%02d left ", cells, percent,
            (unsigned long long)b->done, (unsigned long long)b->messages, rate / 1e6, left / 60,
            left % 60);
    if (last)
        fputc('\n', stderr);
}

/* --- importing
 * --------------------------------------------------------------------------------------- */

struct one {
    struct intent intent;
    struct prepared *prepared;
    uint8_t id[ID_HASH];
    uint64_t octets;
    char *what; /* for messages */
};

struct import {
    struct cmd *c;
    struct account *account;
    const char *mailbox; /* "": none given */
    struct source *source;
    struct progress progress;
    struct bar bar;
    struct arena arena; /* of the batch */
    struct one *batch;
    size_t n;
    uint64_t batch_octets, stored, before, failed;
    char *last_mailbox; /* that is known to exist */
};

static volatile sig_atomic_t interrupted; /* a signal flag */

static void on_interrupt(int signal)
{
    interrupted = 1;
}

static int feed(void *ctx, struct slice bytes, struct error *err)
{
    return message_writer_feed(ctx, bytes, err);
}

static const char *target_mailbox(struct import *im, const char *mailbox)
{
    if (!im->mailbox[0])
        return mailbox[0] ? mailbox : "INBOX";
    if (!mailbox[0] || strcasecmp(mailbox, "INBOX") == 0)
        return im->mailbox;
    return arena_printf(&im->arena, "%s/%s", im->mailbox, mailbox);
}

static int make_mailbox(struct import *im, const char *name)
{
    struct intent it = {.kind = INTENT_CREATE, .account = im->account, .name = slice_str(name)};
    struct intent sub = {
        .kind = INTENT_SUBSCRIBE, .account = im->account, .name = slice_str(name), .on = true};
    struct intent *all[] = {&it, &sub};
    int res;

    if (im->last_mailbox && strcmp(im->last_mailbox, name) == 0)
        return 0;
    mail_commit(im->c->mail, all, 2);
    res = it.result == -ERR_EXISTS ? 0 : it.result;
    if (res < 0)
        im->c->error = it.error;
    intent_done(&it);
    intent_done(&sub);
    free(im->last_mailbox);
    im->last_mailbox = res == 0 ? mem_strdup(name) : NULL;
    return res;
}

/* Keywords that IMAP cannot have are left out. */
static void set_flags(struct import *im, struct intent *it, const struct source_item *item)
{
    it->flags.system = item->flags;
    it->flags.keywords = arena_array(&im->arena, item->n_keywords, sizeof *it->flags.keywords);
    for (size_t i = 0; i < item->n_keywords; i++) {
        struct slice word = slice_str(item->keywords[i]);
        bool fine = word.n > 0;

        for (size_t k = 0; k < word.n; k++)
            if (word.p[k] <= ' ' || word.p[k] >= 0x7f || strchr("(){%*\"\\]", word.p[k]))
                fine = false;
        if (fine)
            it->flags.keywords[it->flags.n_keywords++] = arena_slice(&im->arena, word);
    }
}

static void delivery_hash(const struct one *one, uint8_t ret[DELIVERY_HASH_SIZE])
{
    uint8_t text[ID_HASH + 32], hash[SHA256_SIZE];

    memcpy(text, one->id, ID_HASH);
    prepared_hash(one->prepared, text + ID_HASH);
    digest_sha256(slice_of(text, sizeof text), hash);
    memcpy(ret, hash, DELIVERY_HASH_SIZE);
}

static int read_one(struct import *im, struct one *one, const struct source_item *item)
{
    struct message_writer *w = message_writer_new(im->c->mail);
    int res = source_read(im->source, feed, w, &im->c->error);

    if (res == 0)
        res = message_writer_finish(w, &one->prepared, &im->c->error);
    message_writer_free(w);
    if (res < 0)
        return res;
    one->intent.kind = INTENT_DELIVER;
    one->intent.account = im->account;
    one->intent.prepared = one->prepared;
    one->intent.name =
        slice_str(arena_str(&im->arena, slice_str(target_mailbox(im, item->mailbox))));
    one->intent.date = item->date;
    set_flags(im, &one->intent, item);
    delivery_hash(one, one->intent.delivery);
    return make_mailbox(im, (const char *)one->intent.name.p);
}

static void batch_clear(struct import *im)
{
    for (size_t i = 0; i < im->n; i++) {
        intent_done(&im->batch[i].intent);
        prepared_unref(im->batch[i].prepared);
        free(im->batch[i].what);
        im->batch[i] = (struct one){0};
    }
    im->n = 0;
    im->batch_octets = 0;
    arena_reset(&im->arena);
}

/* Commits what has no result yet or could not be stored for want of the store. Others' results
 * stay. */
static bool commit_once(struct import *im)
{
    struct intent *todo[BATCH_MESSAGES];
    size_t n = 0;
    bool again = false;

    for (size_t i = 0; i < im->n; i++)
        if (im->batch[i].intent.result != 0 || !im->batch[i].intent.seq)
            todo[n++] = &im->batch[i].intent;
    mail_commit(im->c->mail, todo, n);
    for (size_t i = 0; i < n; i++)
        again |= todo[i]->result == -ERR_UNAVAILABLE || todo[i]->result == -ERR_UNKNOWN_OUTCOME;
    return again;
}

static bool is_fatal(int res)
{
    return res == -ERR_UNAVAILABLE || res == -ERR_UNKNOWN_OUTCOME || res == -ERR_QUOTA ||
           res == -ERR_NOPERM;
}

/* 0 or an exit code. */
static int failed_one(struct import *im, const char *what, int res)
{
    im->failed++;
    fprintf(stderr, "%s%s: %s\n", im->bar.on ? "\r\033[K" : "", what, im->c->error.text);
    if (cmd_option(im->c, OPT_SKIP, NULL) && !is_fatal(res))
        return 0;
    return cmd_exit_code(res);
}

static int batch_commit(struct import *im)
{
    int code = 0;

    for (int t = 1; im->n && commit_once(im) && t < TRIES && !interrupted; t++)
        usleep(2000000);
    for (size_t i = 0; i < im->n && code == 0; i++) {
        struct one *one = &im->batch[i];

        im->bar.done++;
        im->bar.octets_done += one->octets;
        if (one->intent.result < 0) {
            im->c->error = one->intent.error;
            code = failed_one(im, one->what, one->intent.result);
            continue;
        }
        im->stored += !one->intent.duplicate;
        im->before += one->intent.duplicate;
        progress_note(&im->progress, one->id);
    }
    fflush(im->progress.file);
    bar_show(&im->bar, false);
    batch_clear(im);
    return code;
}

static int take_one(struct import *im, const struct source_item *item)
{
    struct one *one = &im->batch[im->n];
    int res;

    id_hash(item->id, one->id);
    if (progress_has(&im->progress, one->id)) {
        im->before++;
        im->bar.done++;
        im->bar.octets_done += item->octets;
        im->bar.start_octets += item->octets;
        return 0;
    }
    one->octets = item->octets;
    one->what = mem_strdup(item->id);
    res = read_one(im, one, item);
    if (res < 0) {
        int code = failed_one(im, one->what, res);

        prepared_unref(one->prepared);
        free(one->what);
        *one = (struct one){0};
        return code;
    }
    im->n++;
    im->batch_octets += prepared_size(one->prepared);
    return im->n == BATCH_MESSAGES || im->batch_octets >= BATCH_OCTETS ? batch_commit(im) : 0;
}

static int import_all(struct import *im)
{
    struct source_item item;
    int code = 0, res;

    while (code == 0 && !interrupted &&
           (res = source_next(im->source, &item, &im->c->error)) != 0) {
        if (res < 0)
            code = failed_one(im, "source", res);
        else
            code = take_one(im, &item);
    }
    if (code == 0)
        code = batch_commit(im);
    batch_clear(im);
    bar_show(&im->bar, true);
    return code;
}

/* --- the command
 * --------------------------------------------------------------------------------------- */

static void report(struct import *im)
{
    json_t *o;

    if (!im->c->json) {
        printf("%llu stored, %llu were there already, %llu failed%s\n",
               (unsigned long long)im->stored, (unsigned long long)im->before,
               (unsigned long long)im->failed,
               interrupted ? "; broken off: the same command goes on" : "");
        return;
    }
    o = json_object();
    json_object_set_new(o, "stored", json_integer((json_int_t)im->stored));
    json_object_set_new(o, "before", json_integer((json_int_t)im->before));
    json_object_set_new(o, "failed", json_integer((json_int_t)im->failed));
    json_object_set_new(o, "complete", json_boolean(!interrupted));
    cmd_put_json(o);
}

static int run_import(struct import *im, int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    int code = progress_open(im->c, &im->progress);

    if (code != 0)
        return code;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    im->batch = NEW_ARRAY(struct one, BATCH_MESSAGES);
    im->bar = (struct bar){.on = isatty(2) && !cmd_option(im->c, OPT_QUIET, NULL),
                           .messages = source_count(im->source),
                           .octets = source_octets(im->source),
                           .begun_ms = clock_mono_ms()};
    code = import_all(im);
    report(im);
    free(im->batch);
    if (code == 0 && im->failed)
        code = CMD_DATA;
    return interrupted && code == 0 ? CMD_TEMPORARY : code;
}

static bool source_kind(const char *name, enum source_kind *ret)
{
    static const char *const names[] = {"maildir", "mbox", "eml"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        *ret = (enum source_kind)i;
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static int open_account(struct import *im, const char *login)
{
    struct directory_account found;
    int code = cmd_open_mail(im->c);

    if (code == 0)
        code = cmd_find_account(im->c, login, &found);
    if (code != 0)
        return code;
    if (account_open(im->c->mail, found.id, &im->account, &im->c->error) < 0)
        return cmd_fail(im->c, login);
    return 0;
}

static int run(struct cmd *c, int argc, char **argv)
{
    struct import im = {.c = c, .mailbox = ""};
    enum source_kind kind;
    const char *login;
    int code;

    if (!source_kind(argv[0], &kind))
        return cmd_usage_error(c, "import maildir, mbox or eml, not %s", argv[0]);
    if (!cmd_option(c, OPT_ACCOUNT, &login))
        return cmd_usage_error(c, "which account? Say --account LOGIN");
    cmd_option(c, OPT_MAILBOX, &im.mailbox);
    code = open_account(&im, login);
    if (code != 0)
        return code;
    if (source_open(kind, (const char *const *)argv + 1, (size_t)argc - 1, &im.source, &c->error) <
        0) {
        code = cmd_fail(c, NULL);
    } else {
        im.progress.path = progress_path(c, account_id(im.account), argc, argv);
        code = run_import(&im, argc, argv);
    }
    progress_close(&im.progress);
    source_close(im.source);
    account_unref(im.account);
    arena_done(&im.arena);
    free(im.last_mailbox);
    return code;
}

const struct command cmd_import = {
    .name = "import",
    .usage = "--account LOGIN [OPTION...] maildir|mbox|eml PATH...",
    .brief = "put mail from elsewhere into an account",
    .help = "Imports a Maildir with its folders, mbox files (or a folder of them, each a mailbox), "
            "or files of one "
            "message each. Dates, flags and keywords are kept; mailboxes that do not exist are "
            "made and subscribed. "
            "Lines that end in LF alone are stored with CRLF.\n"
            "A run that was broken off, by Ctrl-C or anything else, goes on where it stopped when "
            "the same command is "
            "given again; messages that came meanwhile are taken along. Servers may run.",
    .options = options,
    .json = true,
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
