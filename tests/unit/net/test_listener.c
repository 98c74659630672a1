/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/unit/net/line.h"

static struct net *begin(struct line_service *line)
{
    struct net *net = NULL;

    log_set_level(LOG_ERROR_);
    line_service_init(line);
    int rc = net_new(&(struct net_settings){.loops = 2, .workers = 2}, &net, NULL);
    cr_assert_eq(rc, 0);
    return net;
}

static void listen_or_die(struct net *net, const struct net_listener *l, struct line_service *line)
{
    struct error err = {0};
    int rc = net_listen(net, l, &line->service, &err);

    cr_assert_eq(rc, 0, "%s", err.text);
}

static bool talks(const char *address, const char *first)
{
    struct client_end c;
    bool fine = client_open(&c, address) && strcmp(client_line(&c), first) == 0;

    client_close(&c);
    return fine;
}

Test(listener, an_address_in_use_is_said_plainly)
{
    struct line_service line;
    struct net *net = begin(&line), *second = begin(&line);
    struct error err = {0};

    listen_or_die(net, &(struct net_listener){.address = "127.0.0.1:0"}, &line);
    int rc = net_listen(second, &(struct net_listener){.address = net_listener_address(net, 0)},
                        &line.service, &err);
    cr_assert_eq(rc, -ERR_EXISTS);
    cr_assert(strstr(err.text, net_listener_address(net, 0)) && strstr(err.text, "is in use"));
    rc = net_listen(second, &(struct net_listener){.address = "192.0.2.1:4143"}, &line.service,
                    &err);
    cr_assert_eq(rc, -ERR_INVALID);
    rc = net_listen(second, &(struct net_listener){.address = "imap"}, &line.service, &err);
    cr_assert_eq(rc, -ERR_INVALID);
    net_free(second);
    net_free(net);
}

Test(listener, v6_and_every_address)
{
    struct line_service line;
    struct net *net = begin(&line);
    char v4[40];

    listen_or_die(net, &(struct net_listener){.address = "[::1]:0"}, &line);
    listen_or_die(net, &(struct net_listener){.address = "*:0"}, &line);
    cr_assert(talks(net_listener_address(net, 0), "hello"));
    const char *port = strrchr(net_listener_address(net, 1), ':');
    snprintf(v4, sizeof v4, "127.0.0.1%s", port);
    cr_assert(talks(v4, "hello"));
    snprintf(v4, sizeof v4, "[::1]%s", port);
    cr_assert(talks(v4, "hello"));
    net_free(net);
}

Test(listener, a_unix_socket_has_its_mode_and_survives_a_crash_of_its_server)
{
    struct line_service line;
    struct net *net = begin(&line), *second = begin(&line);
    char folder[] = "/tmp/eider-net-XXXXXX", path[60], address[80];
    struct stat st;
    struct client_end c;

    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    struct net_listener l = {.address = address, .unix_mode = 0660};
    listen_or_die(net, &l, &line);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0660);
    cr_assert(client_open(&c, address));
    client_line(&c);
    client_say(&c, "peer\r\n");
    cr_assert(strstr(client_line(&c), "remote=unix port=0 tls=0 trusted=1"));
    client_close(&c);
    int rc = net_listen(second, &l, &line.service, NULL);
    cr_assert_eq(rc, -ERR_EXISTS); /* somebody listens there */
    net_free(net);
    cr_assert_neq(stat(path, &st), 0);

    int fd = socket(AF_UNIX, SOCK_STREAM, 0); /* leaves its file behind */
    struct netaddr a;
    rc = netaddr_parse(address, &a, NULL);
    cr_assert_eq(rc, 0);
    cr_assert_eq(bind(fd, &a.sa.any, a.n), 0);
    close(fd);
    listen_or_die(second, &l, &line);
    cr_assert(talks(address, "hello"));
    net_free(second);
    cr_assert_eq(rmdir(folder), 0);
}

Test(listener, I35_limits_answer_with_the_protocols_refusal)
{
    struct line_service line;
    struct net *net = begin(&line);
    struct client_end c[3];

    listen_or_die(net, &(struct net_listener){.address = "127.0.0.1:0", .max_connections = 3},
                  &line);
    listen_or_die(net,
                  &(struct net_listener){.address = "127.0.0.1:0", .max_connections_per_client = 2},
                  &line);
    for (int i = 0; i < 2; i++) {
        const char *address = net_listener_address(net, (size_t)i);
        int max = i == 0 ? 3 : 2;

        for (int j = 0; j < max; j++) {
            cr_assert(client_open(&c[j], address));
            cr_assert_str_eq(client_line(&c[j]), "hello");
        }
        cr_assert(talks(address, "go away"));
        for (int j = 0; j < max; j++)
            client_close(&c[j]);
        cr_assert(net_wait_idle(net, 5000));
        cr_assert(talks(address, "hello"));
    }
    cr_assert_eq(net_read_counters(net).refused, 2);
    net_free(net);
}

Test(listener, accepting_pauses_when_file_descriptors_run_out)
{
    struct line_service line;
    struct net *net = begin(&line);
    struct client_end c;
    int fds[512], n = 0;

    listen_or_die(net, &(struct net_listener){.address = "127.0.0.1:0"}, &line);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 256});
    while (n < 512 && (fds[n] = open("/dev/null", O_RDONLY)) >= 0)
        n++;
    close(fds[--n]); /* one for the client's end */
    cr_assert(client_open(&c, net_listener_address(net, 0)));
    while (net_read_counters(net).accept_pauses == 0)
        usleep(1000);
    while (n > 0)
        close(fds[--n]);
    cr_assert_str_eq(client_line(&c), "hello");
    client_close(&c);
    net_free(net);
}

Test(listener, proxy_headers_are_required_and_believed_from_trusted_networks_only)
{
    struct line_service line;
    struct net *net = begin(&line);
    struct network ours, others;
    struct client_end c;
    int rc = network_parse("127.0.0.0/8", &ours, NULL) | network_parse("10.0.0.0/8", &others, NULL);

    cr_assert_eq(rc, 0);
    struct net_listener l = {.address = "127.0.0.1:0",
                             .proxy = NET_PROXY_REQUIRED,
                             .proxy_networks = &ours,
                             .proxy_networks_n = 1};
    listen_or_die(net, &l, &line);
    l.proxy_networks = &others;
    listen_or_die(net, &l, &line);
    cr_assert(client_open(&c, net_listener_address(net, 0)));
    for (const char *p = "PROXY TCP4 192.0.2.7 198.51.100.1 5555 143\r\npeer\r\n"; *p; p++) {
        client_send(&c, p, 1);
        usleep(300);
    }
    cr_assert_str_eq(client_line(&c), "hello");
    cr_assert(strstr(client_line(&c), "remote=192.0.2.7 port=5555 tls=0 trusted=0"));
    client_close(&c);

    cr_assert(client_open(&c, net_listener_address(net, 0)));
    client_say(&c, "echo no header\r\n");
    cr_assert_str_eq(client_line(&c), "");
    client_close(&c);
    cr_assert(client_open(&c, net_listener_address(net, 1)));
    client_say(&c, "PROXY TCP4 192.0.2.7 198.51.100.1 5555 143\r\n");
    cr_assert_str_eq(client_line(&c), "");
    client_close(&c);
    cr_assert_eq(net_read_counters(net).proxy_bad, 2);
    net_free(net);
}
