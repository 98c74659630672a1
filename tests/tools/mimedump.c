/* SPDX-License-Identifier: MPL-2.0 */
/* mimedump [-c N] [-q] FILE...: what the MIME layer makes of messages, for people and for the
 * comparison with other servers. One block a file:
 *
 *   file NAME, size N, envelope ..., body ..., bodystructure ..., section NUMBER ..., preview ...
 *
 * -s prints the byte ranges of all sections, as the digest knows them; -k KEY (up to 30 times)
 * searches instead, and prints NAME, the set of keys found anywhere, the set of those found in
 * bodies, in hex. -w BASE writes the digest and the skeleton to BASE.digest and BASE.skeleton
 * (seeds for fuzzing). -c N feeds the file in cuts of N octets; -q prints nothing (to measure). -1
 * prints only the three texts, each as "NAME LENGTH" and the text, for programs. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mime/intake.h"
#include "lib/mime/text.h"

#define KEYS_MAX 30

struct options {
    size_t cut;
    bool quiet, texts_only;
    unsigned rounds;
    const char *write; /* NULL: nothing is written */
    bool sections;
    struct slice keys[KEYS_MAX];
    size_t key_count;
};

static int keep_nothing(void *ctx, struct slice bytes, uint8_t ret_hash[SKELETON_HASH])
{
    digest_sha256(bytes, ret_hash);
    return 0;
}

static int read_file(const char *name, struct buf *out)
{
    FILE *f = fopen(name, "rb");
    uint8_t chunk[65536];
    size_t n;

    if (!f)
        return -1;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    fclose(f);
    return 0;
}

static void print_text(const struct options *o, const char *name, struct slice s)
{
    if (o->texts_only)
        printf("%s %zu\n", name, s.n);
    else
        printf("%s ", name);
    if (s.n > 0)
        fwrite(s.p, 1, s.n, stdout);
    putchar('\n');
}

static void print_sections(const struct mime_part *part, const char *number)
{
    char below[512];
    unsigned i = 1;

    printf("section %s header %llu+%llu body %llu+%llu lines %llu\n", number,
           (unsigned long long)part->header_start,
           (unsigned long long)(part->body_start - part->header_start),
           (unsigned long long)part->body_start, (unsigned long long)(part->end - part->body_start),
           (unsigned long long)part->lines);
    for (const struct mime_part *p = part->child; p; p = p->next, i++) {
        snprintf(below, sizeof below, "%s.%u", number, i);
        print_sections(p, below);
    }
}

static void print_range(const char *number, const char *what, uint64_t offset, uint64_t len)
{
    printf("RANGE %s%s%s %llu %llu\n", number, *number && *what ? "." : "", what,
           (unsigned long long)offset, (unsigned long long)len);
}

/* Sections below `numbers`, found by the digest alone. */
static void print_ranges(const struct mdigest *d, uint32_t *numbers, size_t n, const char *number)
{
    struct mdigest_section s;
    char below[512];

    if (n == 0 && mdigest_section_find(d, numbers, 0, &s) == 0) {
        print_range("", "HEADER", s.message_header_offset, s.message_header_len);
        print_range("", "TEXT", s.message_text_offset, s.message_text_len);
    }
    for (numbers[n] = 1; n < 10; numbers[n]++) {
        if (mdigest_section_find(d, numbers, n + 1, &s) < 0)
            return;
        snprintf(below, sizeof below, "%s%s%u", number, n > 0 ? "." : "", numbers[n]);
        print_range(below, "", s.body_offset, s.body_len);
        if (n > 0 || s.header_offset > 0)
            print_range(below, "MIME", s.header_offset, s.header_len);
        if (s.has_message) {
            print_range(below, "HEADER", s.message_header_offset, s.message_header_len);
            print_range(below, "TEXT", s.message_text_offset, s.message_text_len);
        }
        print_ranges(d, numbers, n + 1, below);
    }
}

static void search(const struct options *o, const char *name, struct slice message)
{
    enum text_where where[2 * KEYS_MAX];
    struct slice keys[2 * KEYS_MAX];
    struct text_search *t;
    uint64_t found;

    for (size_t i = 0; i < 2 * o->key_count; i++) {
        keys[i] = o->keys[i % o->key_count];
        where[i] = i < o->key_count ? TEXT_HEADERS | TEXT_BODIES : TEXT_BODIES;
    }
    t = text_search_new(keys, where, 2 * o->key_count);
    for (size_t at = 0; at < message.n; at += o->cut)
        text_search_feed(t, slice_sub(message, at, at + o->cut));
    found = text_search_finish(t);
    printf("%s %llx %llx\n", name,
           (unsigned long long)(found & (((uint64_t)1 << o->key_count) - 1)),
           (unsigned long long)(found >> o->key_count));
    text_search_free(t);
}

static void write_value(const char *base, const char *suffix, struct slice value)
{
    char *name = mem_printf("%s.%s", base, suffix);
    FILE *f = fopen(name, "wb");

    if (!f || fwrite(value.p, 1, value.n, f) != value.n || fclose(f) != 0)
        perror(name);
    free(name);
}

static void dump(const struct options *o, const char *name, struct slice message)
{
    struct buf digest = buf_make(BUF_MAX_DEFAULT), skeleton = buf_make(BUF_MAX_DEFAULT);
    struct intake *in = intake_new(keep_nothing, NULL, NULL);
    struct buf full = buf_make(BUF_MAX_DEFAULT);
    struct mdigest d;

    for (size_t at = 0; at < message.n; at += o->cut) {
        if (intake_feed(in, slice_sub(message, at, at + o->cut)) < 0)
            exit(1);
    }
    if (intake_finish(in, &digest, &skeleton) < 0 || mdigest_open(&d, buf_slice(&digest)) < 0)
        exit(1);
    if (o->write) {
        write_value(o->write, "digest", buf_slice(&digest));
        write_value(o->write, "skeleton", buf_slice(&skeleton));
    }
    if (!o->quiet) {
        mdigest_build(&full, intake_root(in), d.preview, &mdigest_caps_none);
        if (mdigest_open(&d, buf_slice(&full)) < 0)
            exit(1);
        printf("file %s\nsize %llu digest %zu skeleton %zu\n", name, (unsigned long long)d.size,
               digest.n, skeleton.n);
        print_text(o, "ENVELOPE", d.envelope);
        print_text(o, "BODY", d.body);
        print_text(o, "BODYSTRUCTURE", d.bodystructure);
        if (o->sections)
            print_ranges(&d, (uint32_t[16]){0}, 0, "");
        if (!o->texts_only) {
            print_sections(intake_root(in), "*");
            print_text(o, "date", S(""));
            printf("%lld\n", d.has_date ? (long long)d.date : -1LL);
            print_text(o, "subject", d.subject);
            print_text(o, "base", d.base_subject);
            print_text(o, "from", d.from_display);
            print_text(o, "references", d.references);
            print_text(o, "preview", d.preview);
        }
    }
    intake_free(in);
    buf_done(&digest);
    buf_done(&skeleton);
    buf_done(&full);
}

int main(int argc, char **argv)
{
    struct options o = {.cut = 65536, .rounds = 1};
    int c;

    while ((c = getopt(argc, argv, "c:n:w:k:qs1")) != -1) {
        if (c == 'c')
            o.cut = strtoul(optarg, NULL, 10);
        else if (c == 'n')
            o.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'k' && o.key_count < KEYS_MAX)
            o.keys[o.key_count++] = slice_str(optarg);
        else if (c == 's')
            o.sections = true;
        else if (c == 'w')
            o.write = optarg;
        else if (c == 'q')
            o.quiet = true;
        else if (c == '1')
            o.texts_only = true;
        else
            return 2;
    }
    for (int i = optind; i < argc && o.cut > 0; i++) {
        struct buf message = buf_make((size_t)1 << 31);

        if (read_file(argv[i], &message) < 0) {
            perror(argv[i]);
            return 1;
        }
        if (o.key_count > 0)
            search(&o, argv[i], buf_slice(&message));
        for (unsigned r = 0; r < o.rounds && o.key_count == 0; r++)
            dump(&o, argv[i], buf_slice(&message));
        buf_done(&message);
    }
    return 0;
}
