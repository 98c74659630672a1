/* SPDX-License-Identifier: MPL-2.0 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/conf/conf.h"

Test(conf, defaults_are_in_their_own_ranges)
{
    struct conf *c = NULL;
    struct error err = {0};

    cr_assert(conf_load(NULL, &c, &err) == 0, "%s", err.text);
    cr_assert_str_eq(c->data, "/var/lib/eider");
    cr_assert_str_eq(c->store, "sqlite:/var/lib/eider/eider.db");
    cr_assert(c->limits.message_size == UINT64_C(50) << 20);
    cr_assert(c->limits.idle_timeout == 30 * 60 * 1000);
    cr_assert(c->mail.undelete_window == 24 * 3600 * 1000);
    cr_assert(!c->auth.plaintext_without_tls);
    cr_assert_str_eq(c->delivery.delimiter, "+");
    cr_assert(c->threads.loops > 0 && c->threads.workers >= 16 && c->auth.hash_threads > 0);
    cr_assert(*c->hostname);
    cr_assert(c->listeners.n == 7);
    cr_assert(c->listeners.items[0].port == 143 && c->listeners.items[1].port == 993);
    cr_assert(c->listeners.items[2].port == 110 && c->listeners.items[3].port == 995);
    cr_assert(c->listeners.items[4].port == 587 && c->listeners.items[5].port == 465);
    cr_assert_str_eq(c->listeners.items[6].path, "/var/lib/eider/lmtp");
    cr_assert(c->listeners.items[6].mode == 0660);
    conf_free(c);
}

Test(conf, a_whole_file_is_read)
{
    static const char text[] =
        "data = \"/tmp/d\";\n"
        "store = \"mongodb://u:p@h1,h2/mail?w=majority\";\n"
        "hostname = \"mx.example.org\";\n"
        "listeners = (\n"
        "  { protocol = \"imap\"; address = \"127.0.0.1\"; port = 1143; tls = \"starttls\";\n"
        "    proxy = true; max_connections = 5; max_per_address = 0; },\n"
        "  { protocol = \"lmtp\"; path = \"/run/e/lmtp\"; mode = \"0600\"; } );\n"
        "proxy: { networks = [ \"10.1.0.0/16\", \"2001:db8::/32\", \"192.0.2.1\" ]; };\n"
        "tls = { certificates = ( { certificate = \"c.pem\"; key = \"/k.pem\"; } );\n"
        "        min_version = \"1.3\"; };\n"
        "limits = { message_size = 100000000; idle_timeout = 1800; login_timeout = \"90s\"; };\n"
        "quota = { account = \"5G\"; };\n"
        "delivery = { over_quota = \"permanent\"; delimiter = \"-\"; };\n";
    struct conf *c = NULL;
    struct error err = {0};
    struct in6_addr a;

    cr_assert(conf_parse(text, "t.conf", &c, &err) == 0, "%s", err.text);
    cr_assert(c->listeners.n == 2 && c->listeners.items[0].port == 1143);
    cr_assert(c->listeners.items[0].proxy && c->listeners.items[0].tls == CONF_TLS_STARTTLS);
    cr_assert(c->listeners.items[0].line == 5);
    cr_assert(c->listeners.items[1].protocol == CONF_LMTP && c->listeners.items[1].mode == 0600);
    cr_assert_str_eq(c->tls.certificates.items[0].certificate, "/tmp/d/c.pem");
    cr_assert_str_eq(c->tls.certificates.items[0].key, "/k.pem");
    cr_assert(c->tls.min_version == CONF_TLS_1_3);
    cr_assert(c->limits.message_size == 100000000 && c->limits.idle_timeout == 1800000);
    cr_assert(c->limits.login_timeout == 90000);
    cr_assert(c->quota.account == UINT64_C(5) << 30);
    cr_assert(c->delivery.over_quota == CONF_OVER_QUOTA_PERMANENT);
    static const struct {
        const char *address;
        bool in;
    } cases[] = {{"::ffff:10.1.255.1", true},
                 {"::ffff:10.2.0.1", false},
                 {"2001:db8:1::1", true},
                 {"2001:db9::1", false},
                 {"::ffff:192.0.2.1", true},
                 {"::ffff:192.0.2.2", false},
                 {"::1", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert(inet_pton(AF_INET6, cases[i].address, &a) == 1);
        cr_expect(conf_network_has(c->proxy.networks.items, c->proxy.networks.n, &a) == cases[i].in,
                  "%s", cases[i].address);
    }
    conf_free(c);
}

Test(conf, mistakes_are_named_with_file_and_line)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"\nhostnam = \"x\";", "t.conf:2: hostnam: there is no such setting (is it hostname?)"},
        {"limits = {\n mesage_size = 5;\n};",
         "t.conf:2: limits.mesage_size: there is no such setting (is it limits.message_size?)"},
        {"zzz = { a = 1; };", "t.conf:1: zzz: there is no such setting"},
        {"limits = 5;", "t.conf:1: limits: a group is wanted"},
        {"log = { level = \"loud\"; };",
         "t.conf:1: log.level: one of \"error\", \"warn\", \"info\", \"debug\" is wanted"},
        {"log = { level = 3; };", "t.conf:1: log.level: one of"},
        {"auth = { plaintext_without_tls = \"yes\"; };", "true or false is wanted"},
        {"auth = { plaintext_without_tls = 1; };", "true or false is wanted"},
        {"limits = { message_size = \"50X\"; };", "a size is wanted"},
        {"limits = { message_size = -1; };", "a size is wanted"},
        {"limits = { message_size = 1.5; };", "a size is wanted"},
        {"limits = { message_size = 1; };", "out of range, \"64K\" to \"1G\" is allowed"},
        {"limits = { message_size = \"99999999999999999999\"; };", "a size is wanted"},
        {"limits = { message_size = \"99999999999999T\"; };", "a size is wanted"},
        {"limits = { idle_timeout = \"5 min\"; };", "a duration is wanted"},
        {"limits = { idle_timeout = 9223372036854775807L; };", "out of range"},
        {"limits = { nesting = \"5\"; };", "a whole number"},
        {"limits = { nesting = 4; };", "limits.nesting: out of range, 5 to 1000 is allowed"},
        {"data = 5;", "data: a string is wanted"},
        {"data = \"\";", "data: must not be empty"},
        {"data = \"a\\nb\";", "control character"},
        {"store = \"mysql://x\";", "store:"},
        {"bus = \"amqp://x\";", "bus:"},
        {"bus = \"local:x\";", "bus:"},
        {"hostname = \"a b\";", "is no host name"},
        {"delivery = { delimiter = \"++\"; };", "longer than 1 bytes"},
        {"delivery = { delimiter = \"a\"; };", "cannot be one"},
        {"submission = { no_solicit = \"net.example:ADV,x\"; };", "is no list of classes"},
        {"submission = { no_solicit = \"a 1b\"; };", "is no list of classes"},
        {"auth = { scram_iterations = 100; };", "0, or 4096 to 65536"},
        {"auth = { scram_sha1_iterations = 4095; };", "0, or 4096 to 65536"},
        {"proxy = { networks = [ \"10.1.2.0/16\" ]; };", "is no network"},
        {"proxy = { networks = [ \"10.0.0.0/33\" ]; };", "is no network"},
        {"proxy = { networks = [ 5 ]; };", "is no network"},
        {"proxy = { networks = \"10.0.0.0/8\"; };", "a list of networks"},
        {"listeners = { protocol = \"imap\"; };", "a list of groups"},
        {"listeners = ( 5 );", "a group is wanted"},
        {"listeners = (\n{ protocol = \"imap\"; prot = 5; } );",
         "t.conf:2: listeners.prot: there is no such setting"},
        {"listeners = ( { protocol = \"pop\"; } );", "listeners.protocol: one of"},
        {"listeners = ( { path = \"/a\"; port = 5; } );", "either path, or address"},
        {"listeners = ( { address = \"localhost\"; } );", "no numeric address"},
        {"listeners = ( { path = \"x\"; mode = \"0888\"; } );", "octal"},
        {"listeners = ( { path = \"x\"; mode = 660; } );", "octal"},
        {"tls = { certificates = ( { key = \"k\"; } ); };", "certificate is missing"},
        {"data = \"/a\";\ndata = \"/b\";", "t.conf:2:"},
        {"data = \"/a", "t.conf:1:"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf *c = NULL;
        struct error err = {0};

        cr_expect(conf_parse(cases[i].text, "t.conf", &c, &err) == -ERR_INVALID, "%s",
                  cases[i].text);
        cr_expect(strstr(err.text, cases[i].want), "%s: %s", cases[i].text, err.text);
        conf_free(c);
    }
}

Test(conf, included_files_are_found_beside_and_named)
{
    char folder[] = "/tmp/eider-conf-XXXXXX";
    struct conf *c = NULL;
    struct error err = {0};

    cr_assert(mkdtemp(folder));
    CLEANUP_FREE char *main_file = mem_printf("%s/eider.conf", folder);
    CLEANUP_FREE char *other = mem_printf("%s/other.conf", folder);
    FILE *f = fopen(main_file, "w");
    cr_assert(f && fputs("hostname = \"a\";\n@include \"other.conf\"\n", f) >= 0);
    fclose(f);
    cr_assert(conf_load(main_file, &c, &err) == -ERR_INVALID);
    f = fopen(other, "w");
    cr_assert(f && fputs("\n\nbad = 1;\n", f) >= 0);
    fclose(f);
    cr_assert(conf_load(main_file, &c, &err) == -ERR_INVALID);
    cr_assert(strstr(err.text, "other.conf:3: bad"), "%s", err.text);
    f = fopen(other, "w");
    cr_assert(f && fputs("log = { level = \"debug\"; };\n", f) >= 0);
    fclose(f);
    cr_assert(conf_load(main_file, &c, &err) == 0, "%s", err.text);
    cr_assert(c->log.level == CONF_LOG_DEBUG);
    conf_free(c);
    unlink(main_file);
    unlink(other);
    rmdir(folder);
    cr_assert(conf_load(main_file, &c, &err) == -ERR_NOTFOUND);
}

Test(conf, a_reload_says_what_needs_a_restart)
{
    struct conf *a = NULL, *b = NULL;
    CLEANUP(buf_done) struct buf names = buf_make(1000);

    cr_assert(conf_parse("hostname = \"h\";", "t", &a, NULL) == 0);
    cr_assert(conf_parse("hostname = \"h\"; log = { level = \"debug\"; };"
                         "threads = { loops = 7; }; quota = { account = 5; };"
                         "listeners = ( { protocol = \"imap\"; port = 1; } );",
                         "t", &b, NULL) == 0);
    cr_assert(conf_needs_restart(a, a, &names) == 0);
    cr_assert(conf_needs_restart(a, b, &names) == 2);
    cr_assert_str_eq(buf_cstr(&names), "listeners, threads.loops");
    conf_free(a);
    conf_free(b);
}

Test(conf, serving_needs_listeners_and_certificates)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"listeners = ();", "there are none"},
        {"", NULL},
        {"listeners = ( { protocol = \"imap\"; proxy = true; } );", "needs proxy.networks"},
        {"listeners = ( { port = 5; }, { port = 5; } );", "another listener"},
        {"listeners = ( { tls = \"implicit\"; } );"
         "tls = { certificates = ( { certificate = \"/nonexistent\"; } ); };",
         "/nonexistent: No such file"},
        {"listeners = ( { path = \"a\"; proxy = true; }, { path = \"b\"; } );", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf *c = NULL;
        struct error err = {0};

        cr_assert(conf_parse(cases[i].text, "t.conf", &c, &err) == 0, "%s", err.text);
        cr_expect((conf_check_serve(c, &err) == 0) == !cases[i].want, "%s", cases[i].text);
        cr_expect(!cases[i].want || strstr(err.text, cases[i].want), "%s", err.text);
        conf_free(c);
    }
}
