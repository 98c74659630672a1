/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/unit/net/line.h"

struct fixture {
    struct net *net;
    struct line_service line;
    struct tls *tls;
    char folder[32];
};

static struct tls *make_tls(const char *folder)
{
    CLEANUP_FREE char *cert = mem_printf("%s/cert.pem", folder);
    CLEANUP_FREE char *key = mem_printf("%s/key.pem", folder);
    struct tls_file_pair pair = {cert, key};
    struct tls *tls = NULL;
    struct error err;
    int rc = tls_make_self_signed(cert, key, NULL, 0, 30, &err);

    cr_assert_eq(rc, 0);
    rc = tls_new(&(struct tls_settings){.pairs = &pair, .pairs_n = 1}, &tls, &err);
    cr_assert_eq(rc, 0);
    return tls;
}

static void begin(struct fixture *f, const struct net_settings *settings)
{
    log_set_level(LOG_ERROR_);
    memset(f, 0, sizeof *f);
    strcpy(f->folder, "/tmp/eider-net-XXXXXX");
    cr_assert(mkdtemp(f->folder));
    line_service_init(&f->line);
    f->tls = make_tls(f->folder);
    int rc = net_new(settings ? settings : &(struct net_settings){.loops = 2, .workers = 4},
                     &f->net, NULL);
    cr_assert_eq(rc, 0);
}

static const char *listen_at(struct fixture *f, struct net_listener listener)
{
    static size_t n;
    struct error err = {0};

    if (!listener.address)
        listener.address = "127.0.0.1:0";
    n = 0;
    while (net_listener_address(f->net, n))
        n++;
    int rc = net_listen(f->net, &listener, &f->line.service, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    return net_listener_address(f->net, n);
}

static void end(struct fixture *f)
{
    CLEANUP_FREE char *command = mem_printf("rm -rf %s", f->folder);

    net_free(f->net);
    tls_free(f->tls);
    cr_assert_eq(f->line.live, 0);
    cr_assert_eq(f->line.wrong, 0);
    cr_assert_eq(system(command), 0);
}

#define EXPECT_LINE(c, text) cr_assert_str_eq(client_line(c), (text))

static void greet(struct client_end *c, const char *address)
{
    cr_assert(client_open(c, address));
    EXPECT_LINE(c, "hello");
}

Test(conn, lines_come_back_whole_or_byte_by_byte)
{
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    client_say(&c, "echo one\r\necho two\r\necho three\r\n");
    EXPECT_LINE(&c, "one");
    EXPECT_LINE(&c, "two");
    EXPECT_LINE(&c, "three");
    for (const char *p = "echo slowly\r\nlit 5\r\nabcdequit\r\n"; *p; p++) {
        cr_assert(client_send(&c, p, 1));
        usleep(500);
    }
    EXPECT_LINE(&c, "slowly");
    EXPECT_LINE(&c, "got 5");
    EXPECT_LINE(&c, "bye");
    cr_assert_eq(client_read(&c, (char[1]){0}, 1), 0);
    client_close(&c);
    end(&f);
}

Test(conn, half_a_command_costs_no_worker)
{
    struct fixture f;
    struct client_end c[20], other;
    const char *address;

    begin(&f, NULL);
    address = listen_at(&f, (struct net_listener){0});
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        greet(&c[i], address);
        client_say(&c[i], "echo ha");
    }
    usleep(50000);
    cr_assert_eq(net_read_counters(f.net).steps, ARRAY_LEN(c));
    cr_assert_eq(net_read_counters(f.net).workers.running, 0);
    greet(&other, address);
    client_say(&other, "echo fine\r\n");
    EXPECT_LINE(&other, "fine");
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        client_close(&c[i]);
    client_close(&other);
    end(&f);
}

/* One answer after the other. */
static void talk(struct client_end *c, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        client_say(c, "echo quick\r\n");
        EXPECT_LINE(c, "quick");
    }
}

Test(conn, a_quick_client_keeps_its_worker, .timeout = 60)
{
    struct fixture f;
    struct client_end plain, tls;
    bool seen[2] = {false, false};
    int64_t end_ms = clock_mono_ms() + 50000;

    begin(&f, NULL);
    greet(&plain, listen_at(&f, (struct net_listener){.tls = f.tls}));
    greet(&tls, net_listener_address(f.net, 0));
    client_say(&tls, "starttls\r\n");
    EXPECT_LINE(&tls, "go");
    cr_assert(client_start_tls(&tls, NULL, 0));
    EXPECT_LINE(&tls, "secure");
    /* how quick a thread gets its turn is the machine's, so that it may take several tries */
    for (size_t i = 0; i < 2; i++)
        while (!seen[i] && clock_mono_ms() < end_ms) {
            struct net_counters before = net_read_counters(f.net), after;

            talk(i ? &tls : &plain, 100);
            after = net_read_counters(f.net);
            cr_assert_eq(after.steps - before.steps, 100);
            seen[i] = after.workers.done - before.workers.done < 80;
        }
    cr_assert(seen[0], "plain");
    cr_assert(seen[1], "TLS");
    client_close(&plain);
    client_close(&tls);
    end(&f);
}

Test(conn, I35_quick_clients_hold_up_nobody)
{
    struct fixture f;
    struct client_end quick[20], other;
    const char *address;

    begin(&f, &(struct net_settings){.loops = 1, .workers = 1});
    address = listen_at(&f, (struct net_listener){0});
    greet(&other, address);
    for (size_t i = 0; i < ARRAY_LEN(quick); i++)
        greet(&quick[i], address);
    for (unsigned round = 0; round < 50; round++) {
        for (size_t i = 0; i < ARRAY_LEN(quick); i++)
            client_say(&quick[i], "echo a\r\n");
        talk(&other, 1);
        for (size_t i = 0; i < ARRAY_LEN(quick); i++)
            EXPECT_LINE(&quick[i], "a");
    }
    /* who says no more has no worker */
    for (int i = 0; i < 1000 && net_read_counters(f.net).workers.running; i++)
        usleep(10000);
    cr_assert_eq(net_read_counters(f.net).workers.running, 0);
    for (size_t i = 0; i < ARRAY_LEN(quick); i++)
        client_close(&quick[i]);
    client_close(&other);
    end(&f);
}

Test(conn, what_comes_in_pieces_while_a_worker_stays_is_put_together)
{
    static const char command[] = "echo pieces\r\n";
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    for (size_t cut = 1; cut < sizeof command - 1; cut++) {
        talk(&c, 2);
        client_send(&c, command, cut);
        if (cut % 2)
            usleep(3000);
        client_send(&c, command + cut, sizeof command - 1 - cut);
        EXPECT_LINE(&c, "pieces");
    }
    talk(&c, 2); /* and an end of input, with a command before it */
    client_say(&c, "echo last\r\n");
    shutdown(c.fd, SHUT_WR);
    EXPECT_LINE(&c, "last");
    EXPECT_LINE(&c, "eof");
    cr_assert_eq(client_read(&c, (char[1]){0}, 1), 0);
    client_close(&c);
    end(&f);
}

Test(conn, a_full_input_buffer_that_is_no_command_ends_the_connection)
{
    struct fixture f;
    struct client_end c;
    char bytes[LINE_INPUT_MAX * 2];

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    memset(bytes, 'x', sizeof bytes);
    client_send(&c, bytes, sizeof bytes);
    cr_assert_eq(client_read(&c, bytes, sizeof bytes), 0);
    client_close(&c);
    end(&f);
}

static uint64_t read_all(struct client_end *c, uint64_t n)
{
    static char bytes[65536];
    uint64_t got = 0;
    ssize_t now;

    while (got < n && (now = client_read(c, bytes, MIN((uint64_t)sizeof bytes, n - got))) > 0)
        got += (uint64_t)now;
    return got;
}

Test(conn, large_output_reaches_a_slow_reader_and_holds_nobody_up)
{
    enum { BIG = 20000000 };
    struct fixture f;
    struct client_end slow[6], quick;
    const char *address;

    begin(&f, &(struct net_settings){.loops = 1, .workers = 2});
    address = listen_at(&f, (struct net_listener){0});
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        greet(&slow[i], address);
        client_say(&slow[i], "big 20000000\r\necho after\r\n");
    }
    /* a busy machine may take a while to come to rest; a worker that waits for a reader never does
     */
    for (int i = 0; i < 1000 && (!net_read_counters(f.net).bytes_out ||
                                 net_read_counters(f.net).workers.running);
         i++)
        usleep(10000);
    uint64_t sent = net_read_counters(f.net).bytes_out;
    cr_assert_lt(sent, (uint64_t)ARRAY_LEN(slow) * BIG); /* it waits for the readers */
    cr_assert_eq(net_read_counters(f.net).workers.running, 0);
    greet(&quick, address);
    client_say(&quick, "echo quick\r\n");
    EXPECT_LINE(&quick, "quick");
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        cr_assert_eq(read_all(&slow[i], BIG), BIG);
        EXPECT_LINE(&slow[i], "after");
        client_close(&slow[i]);
    }
    client_close(&quick);
    end(&f);
}

Test(conn, who_does_not_read_is_cut_off)
{
    struct fixture f;
    struct client_end c;

    begin(&f, &(struct net_settings){.loops = 1, .workers = 1, .stall_ms = 200});
    greet(&c, listen_at(&f, (struct net_listener){0}));
    client_say(&c, "big 50000000\r\n");
    cr_assert(net_wait_idle(f.net, 5000));
    cr_assert_eq(net_read_counters(f.net).broken, 1);
    client_close(&c);
    end(&f);
}

Test(conn, hints_reach_waiting_sessions)
{
    struct fixture f;
    struct client_end c[10];
    const char *address;

    begin(&f, NULL);
    address = listen_at(&f, (struct net_listener){0});
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        greet(&c[i], address);
        client_say(&c[i], "hint\r\n");
        EXPECT_LINE(&c[i], "waiting");
    }
    line_wake_all(&f.line);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        EXPECT_LINE(&c[i], "hinted");
        client_close(&c[i]);
    }
    end(&f);
}

Test(conn, deadlines_strike_once_and_in_time)
{
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    int64_t before = clock_mono_ms();
    client_say(&c, "deadline 50000\r\ndeadline 100\r\n");
    EXPECT_LINE(&c, "late");
    cr_assert_geq(clock_mono_ms() - before, 100);
    cr_assert_lt(clock_mono_ms() - before, 40000);
    client_say(&c, "echo once\r\n");
    EXPECT_LINE(&c, "once");
    client_close(&c);
    end(&f);
}

Test(conn, commands_before_an_end_of_input_are_answered)
{
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    client_say(&c, "echo one\r\nbig 1000000\r\necho two\r\necho cut o");
    shutdown(c.fd, SHUT_WR);
    EXPECT_LINE(&c, "one");
    cr_assert_eq(read_all(&c, 1000000), 1000000);
    EXPECT_LINE(&c, "two");
    EXPECT_LINE(&c, "eof");
    cr_assert_eq(client_read(&c, (char[1]){0}, 1), 0);
    cr_assert_eq(f.line.eofs, 1);
    client_close(&c);
    end(&f);
}

Test(conn, a_reset_connection_is_noticed)
{
    struct fixture f;
    struct client_end c;
    struct linger hard = {.l_onoff = 1};

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    client_say(&c, "hint\r\n");
    EXPECT_LINE(&c, "waiting");
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    client_close(&c);
    cr_assert(net_wait_idle(f.net, 5000));
    cr_assert_eq(f.line.eofs, 1);
    end(&f);
}

Test(conn, starttls_protects_what_follows)
{
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){.tls = f.tls}));
    client_say(&c, "peer\r\n");
    cr_assert(strstr(client_line(&c), "tls=0 trusted=0"));
    client_say(&c, "starttls\r\n");
    EXPECT_LINE(&c, "go");
    cr_assert(client_start_tls(&c, "localhost", 0));
    EXPECT_LINE(&c, "secure");
    client_say(&c, "peer\r\n");
    const char *peer = client_line(&c);
    cr_assert(strstr(peer, "tls=1 ") && strstr(peer, "sni=localhost"), "%s", peer);
    client_say(&c, "quit\r\n");
    EXPECT_LINE(&c, "bye");
    cr_assert_eq(client_read(&c, (char[1]){0}, 1), 0);
    cr_assert_eq(SSL_get_error(c.ssl, 0), SSL_ERROR_ZERO_RETURN); /* close_notify */
    client_close(&c);
    end(&f);
}

Test(conn, I35_plain_text_after_starttls_never_reaches_the_session)
{
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){.tls = f.tls}));
    client_say(&c, "starttls\r\necho injected\r\n");
    EXPECT_LINE(&c, "go");
    cr_assert_not(client_start_tls(&c, NULL, 0));
    cr_assert(net_wait_idle(f.net, 5000));
    cr_assert_eq(net_read_counters(f.net).tls_done, 0);
    client_close(&c);
    end(&f);
}

Test(conn, starttls_without_a_certificate_closes)
{
    struct fixture f;
    struct client_end c;

    begin(&f, NULL);
    greet(&c, listen_at(&f, (struct net_listener){0}));
    client_say(&c, "starttls\r\n");
    EXPECT_LINE(&c, "go");
    cr_assert_leq(client_read(&c, (char[1]){0}, 1), 0);
    client_close(&c);
    end(&f);
}

/* What the client takes for tls-unique: its own Finished message; none in TLS 1.3. */
static void unique_of(const SSL *ssl, char ret[static 80])
{
    uint8_t bytes[32];
    size_t n = SSL_version(ssl) >= TLS1_3_VERSION ? 0 : SSL_get_finished(ssl, bytes, sizeof bytes);
    int at = sprintf(ret, "unique=");

    cr_assert(n <= sizeof bytes && (n == 12 || SSL_version(ssl) >= TLS1_3_VERSION));
    for (size_t i = 0; i < n; i++)
        at += sprintf(ret + at, "%02x", bytes[i]);
    sprintf(ret + at, ".");
}

Test(conn, implicit_tls_with_1_2_and_1_3_and_the_bindings_agree)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct fixture f;
    const char *address;

    begin(&f, NULL);
    address = listen_at(&f, (struct net_listener){.tls = f.tls, .implicit_tls = true});
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct client_end c;
        uint8_t binding[32];
        char hex[80] = "exporter=", unique[80];

        cr_assert(client_open(&c, address));
        cr_assert(client_start_tls(&c, NULL, versions[i]));
        EXPECT_LINE(&c, "hello");
        SSL_export_keying_material(c.ssl, binding, 32, "EXPORTER-Channel-Binding", 24, NULL, 0, 0);
        for (int j = 0; j < 32; j++)
            sprintf(hex + 9 + j * 2, "%02x", binding[j]);
        client_say(&c, "peer\r\n");
        const char *peer = client_line(&c);
        cr_assert(strstr(peer, hex) && strstr(peer, "endpoint=32"), "%s", peer);
        unique_of(c.ssl, unique);
        cr_assert(strstr(peer, unique), "%s: %s", unique, peer);
        client_say(&c, "big 3000000\r\n");
        cr_assert_eq(read_all(&c, 3000000), 3000000);
        client_close(&c);
    }
    end(&f);
}

Test(conn, plain_text_and_old_versions_do_not_pass_for_tls)
{
    struct fixture f;
    struct client_end c;
    const char *address;

    begin(&f, &(struct net_settings){.loops = 1, .workers = 1, .handshake_ms = 200});
    address = listen_at(&f, (struct net_listener){.tls = f.tls, .implicit_tls = true});
    cr_assert(client_open(&c, address));
    client_say(&c, "echo plain\r\n");
    char got[64];
    ssize_t n = client_read(&c, got, sizeof got); /* an alert, or nothing */
    cr_assert(n <= 0 || got[0] == 21);
    client_close(&c);
    cr_assert(client_open(&c, address));
    cr_assert_not(client_start_tls(&c, NULL, TLS1_1_VERSION));
    client_close(&c);
    cr_assert(client_open(&c, address)); /* says nothing at all */
    /* it may not be accepted yet: idle alone says nothing */
    for (int i = 0; i < 5000 && net_read_counters(f.net).tls_failed < 3; i++)
        usleep(2000);
    cr_assert(net_wait_idle(f.net, 5000));
    client_close(&c);
    cr_assert_eq(net_read_counters(f.net).tls_failed, 3);
    cr_assert_eq(f.line.live, 0);
    end(&f);
}

Test(conn, a_drain_ends_idle_sessions_at_once_and_busy_ones_after_their_command)
{
    struct fixture f;
    struct client_end idle, busy, late;
    const char *address;

    begin(&f, &(struct net_settings){.loops = 2, .workers = 2, .drain_busy_ms = 8000});
    address = listen_at(&f, (struct net_listener){0});
    greet(&idle, address);
    greet(&busy, address);
    client_say(&busy, "busy\r\n");
    EXPECT_LINE(&busy, "ok");
    net_drain(f.net, 1000);
    EXPECT_LINE(&idle, "shutdown");
    cr_assert_eq(client_read(&idle, (char[1]){0}, 1), 0);
    client_close(&idle);
    cr_assert_not(client_open(&late, address)); /* nobody listens any more */
    client_say(&busy, "echo still\r\nfree\r\n");
    EXPECT_LINE(&busy, "still");
    EXPECT_LINE(&busy, "ok");
    EXPECT_LINE(&busy, "shutdown");
    client_close(&busy);
    cr_assert(net_wait_idle(f.net, 5000));
    end(&f);
}

Test(conn, a_drain_waits_for_a_busy_session_only_so_long)
{
    struct fixture f;
    struct client_end c;

    begin(&f, &(struct net_settings){.loops = 1, .workers = 1, .drain_busy_ms = 200});
    greet(&c, listen_at(&f, (struct net_listener){0}));
    client_say(&c, "busy\r\n");
    EXPECT_LINE(&c, "ok");
    net_drain(f.net, 100);
    EXPECT_LINE(&c, "shutdown");
    client_close(&c);
    end(&f);
}

Test(conn, the_end_does_not_wait_for_clients)
{
    struct fixture f;
    struct client_end c[50];
    const char *address;

    begin(&f, NULL);
    address = listen_at(&f, (struct net_listener){0});
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        greet(&c[i], address);
    client_say(&c[0], "sleep 200\r\n");
    int64_t before = clock_mono_ms();
    end(&f);
    cr_assert_lt(clock_mono_ms() - before, 20000);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        client_close(&c[i]);
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file || fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * sysconf(_SC_PAGESIZE) / 1024;
}

/* Prints what 2,000 idle connections cost; the client's ends are sockets of a child process. Under
 * a sanitizer the figure means nothing and is not judged. */
Test(conn, idle_connections_are_cheap, .timeout = 100)
{
    enum { MANY = 2000 };
    struct fixture f;
    const char *addresses[2];
    int tell[2];

    begin(&f, NULL);
    addresses[0] = listen_at(&f, (struct net_listener){0});
    addresses[1] = listen_at(&f, (struct net_listener){.tls = f.tls, .implicit_tls = true});
    for (int tls = 0; tls < 2; tls++) {
        cr_assert_eq(pipe(tell), 0);
        long before = resident_kb();
        pid_t child = fork();

        if (child == 0) {
            static struct client_end c[MANY];
            bool fine = true;

            for (int i = 0; fine && i < MANY; i++)
                fine = client_open(&c[i], addresses[tls]) &&
                       (!tls || client_start_tls(&c[i], NULL, 0)) &&
                       strcmp(client_line(&c[i]), "hello") == 0 &&
                       client_say(&c[i], "echo x\r\n") && strcmp(client_line(&c[i]), "x") == 0;
            (void)!write(tell[1], fine ? "y" : "n", 1);
            pause();
            _exit(0);
        }
        char answer = 0;
        cr_assert_eq(read(tell[0], &answer, 1), 1);
        cr_assert_eq(answer, 'y');
        usleep(100000);
        long kb = resident_kb() - before;
        printf("%d idle %s connections: %.1f KB each\n", MANY, tls ? "TLS" : "plain",
               (double)kb / MANY);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cr_assert_lt(kb, (tls ? 24 : 6) * MANY);
#endif
        kill(child, SIGKILL);
        close(tell[0]);
        close(tell[1]);
    }
    end(&f);
}
