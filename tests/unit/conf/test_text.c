/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/conf/conf.h"

#define TEXT_MAX ((size_t)1 << 20)

static void slurp(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "r");
    char chunk[4096];
    size_t n;

    cr_assert(f, "%s", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    fclose(f);
}

static void write_of(const char *text, struct buf *out)
{
    struct conf *c = NULL;
    struct error err = {0};

    cr_assert(conf_parse(text, "t", &c, &err) == 0, "%s\n%s", err.text, text);
    conf_write(c, out);
    conf_free(c);
}

Test(text, what_is_written_reads_back_as_the_same)
{
    static const char *const texts[] = {
        "",
        "hostname = \"h\"; data = \"/a \\\"b\\\" \\\\c\"; limits = { idle_timeout = \"90s\"; };",
        "proxy = { networks = [ \"10.0.0.0/8\", \"::1\", \"::/0\", \"0.0.0.0/0\" ]; };",
        "listeners = ( { protocol = \"lmtp\"; path = \"/x\"; mode = \"0600\"; } );",
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(buf_done) struct buf a = buf_make(TEXT_MAX), b = buf_make(TEXT_MAX);

        write_of(texts[i], &a);
        write_of(buf_cstr(&a), &b);
        cr_expect_str_eq(buf_cstr(&a), buf_cstr(&b));
    }
}

/* What data makes too long is refused where it is read, not by whoever reads what was written. */
Test(text, a_path_is_measured_with_data_in_front)
{
    CLEANUP_FREE char *fits = mem_printf("data = \"/%0100d\";", 0);
    CLEANUP_FREE char *too_long = mem_printf("data = \"/%0103d\";", 0);
    CLEANUP_FREE char *far_too_long = mem_printf("data = \"/%03995d\";", 0);
    CLEANUP(buf_done) struct buf a = buf_make(TEXT_MAX), b = buf_make(TEXT_MAX);
    struct error err = {0};
    struct conf *c = NULL;

    write_of(fits, &a);
    write_of(buf_cstr(&a), &b);
    cr_expect_str_eq(buf_cstr(&a), buf_cstr(&b));
    cr_expect(conf_parse(too_long, "t", &c, &err) < 0);
    cr_expect_str_eq(err.text, "t: listeners.path: longer than 107 bytes");
    cr_expect(conf_parse(far_too_long, "t", &c, &err) < 0);
    cr_expect_str_eq(err.text, "t: store: longer than 4000 bytes");
}

Test(text, the_sample_means_the_defaults)
{
    CLEANUP(buf_done) struct buf sample = buf_make(TEXT_MAX), got = buf_make(TEXT_MAX);
    struct buf want = buf_make(TEXT_MAX);

    conf_write_sample(&sample);
    write_of("", &want);
    write_of(buf_cstr(&sample), &got);
    cr_assert_str_eq(buf_cstr(&got), buf_cstr(&want));

    /* And so it does with every setting uncommented: "# name = value;". */
    struct buf bare = buf_make(TEXT_MAX);
    char *save = NULL, *text = slice_dup(buf_slice(&sample));
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *hash = strstr(line, "# "), *equals = strstr(line, " = ");
        bool setting =
            hash && equals && line[strlen(line) - 1] == ';' &&
            hash + 2 + strspn(hash + 2, "abcdefghijklmnopqrstuvwxyz_0123456789") == equals;

        buf_printf(&bare, "%s\n", setting ? hash + 2 : line);
    }
    buf_reset(&got, TEXT_MAX);
    cr_assert(strstr(buf_cstr(&bare), "\nmessage_size = "));
    write_of(buf_cstr(&bare), &got);
    cr_assert_str_eq(buf_cstr(&got), buf_cstr(&want));
    free(text);
    buf_done(&bare);
    buf_done(&want);
}

Test(text, generated_files_are_up_to_date)
{
    CLEANUP(buf_done) struct buf want = buf_make(TEXT_MAX), got = buf_make(TEXT_MAX);

    conf_write_sample(&want);
    slurp(SOURCE_ROOT "/etc/eider.conf", &got);
    cr_expect(slice_eq(buf_slice(&want), buf_slice(&got)),
              "run: eider config defaults --sample > etc/eider.conf");
    buf_reset(&want, TEXT_MAX);
    buf_reset(&got, TEXT_MAX);
    conf_write_manual(&want);
    slurp(SOURCE_ROOT "/docs/man/eider.conf.5", &got);
    cr_expect(slice_eq(buf_slice(&want), buf_slice(&got)),
              "run: eider config defaults --manual > docs/man/eider.conf.5");
}

static void note(void *context, const char *name, const char *value, bool is_default)
{
    if (strcmp(name, "store") == 0)
        buf_printf(context, "%s %d", value, is_default);
}

Test(text, passwords_in_uris_are_masked)
{
    CLEANUP(buf_done) struct buf seen = buf_make(1000);
    struct conf *c = NULL;

    cr_assert(conf_parse("store = \"mongodb://me:geh@im@h1,h2/mail?x=a:b@c\";", "t", &c, NULL) ==
              0);
    conf_each(c, note, &seen);
    cr_assert_str_eq(buf_cstr(&seen), "\"mongodb://me:***@h1,h2/mail?x=a:b@c\" 0");
    conf_free(c);
}

static void note_bus(void *context, const char *name, const char *value, bool is_default)
{
    if (strcmp(name, "bus") == 0)
        buf_printf(context, "%s %d", value, is_default);
}

Test(text, passwords_among_options_are_masked)
{
    CLEANUP(buf_done) struct buf seen = buf_make(1000);
    struct conf *c = NULL;

    cr_assert(conf_parse("bus = \"rediss://a:b@h1,h2?sentinel=m&sentinel_password=geh%26eim"
                         "&prefix=p\";",
                         "t", &c, NULL) == 0);
    conf_each(c, note_bus, &seen);
    cr_assert_str_eq(buf_cstr(&seen),
                     "\"rediss://a:***@h1,h2?sentinel=m&sentinel_password=***&prefix=p\" 0");
    conf_free(c);
}
