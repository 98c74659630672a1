/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/net/netaddr.h"

Test(netaddr, text_goes_in_and_out)
{
    static const struct {
        const char *text, *back, *host;
        unsigned port;
    } rows[] = {
        {"127.0.0.1:143", "127.0.0.1:143", "127.0.0.1", 143},
        {"[::1]:65535", "[::1]:65535", "::1", 65535},
        {"::1:25", "[::1]:25", "::1", 25},
        {"[::ffff:192.0.2.1]:1", "192.0.2.1:1", "192.0.2.1", 1},
        {"*:24", "[::]:24", "::", 24},
        {"/run/eider/lmtp", "unix:/run/eider/lmtp", "unix", 0},
        {"unix:/x", "unix:/x", "unix", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct netaddr a;
        char text[NETADDR_TEXT_MAX], host[64];
        int rc = netaddr_parse(rows[i].text, &a, NULL);

        cr_assert_eq(rc, 0, "%s", rows[i].text);
        cr_assert_str_eq(netaddr_format(&a, text), rows[i].back);
        netaddr_format_host(&a, host, sizeof host);
        cr_assert_str_eq(host, rows[i].host);
        cr_assert_eq(netaddr_port(&a), rows[i].port);
    }
}

Test(netaddr, nonsense_is_refused_with_its_text)
{
    char longer[300] = "unix:/";
    const char *rows[] = {"",
                          "imap",
                          "1.2.3.4",
                          "1.2.3.4:",
                          "1.2.3.4:65536",
                          "1.2.3.4:-1",
                          "example.org:143",
                          "[::1:143",
                          "256.1.1.1:1",
                          "unix:relative",
                          ":1",
                          longer};

    memset(longer + 6, 'x', sizeof longer - 7);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct netaddr a;
        struct error err = {0};
        int rc = netaddr_parse(rows[i], &a, &err);

        cr_assert_eq(rc, -ERR_INVALID, "%s", rows[i]);
        cr_assert(err.text[0]);
    }
}

Test(netaddr, networks_hold_their_addresses_and_no_others)
{
    static const struct {
        const char *network, *address;
        bool in;
    } rows[] = {
        {"10.0.0.0/8", "10.255.0.1:1", true},
        {"10.0.0.0/8", "11.0.0.1:1", false},
        {"10.0.0.0/8", "[::ffff:10.1.1.1]:1", true},
        {"192.0.2.4/30", "192.0.2.7:1", true},
        {"192.0.2.4/30", "192.0.2.8:1", false},
        {"0.0.0.0/0", "8.8.8.8:1", true},
        {"0.0.0.0/0", "[::1]:1", false},
        {"::1", "[::1]:1", true},
        {"::1", "[::2]:1", false},
        {"fd00::/8", "[fd12::1]:9", true},
        {"fd00::/8", "[fe00::1]:9", false},
        {"127.0.0.1", "127.0.0.1:1", true},
        {"127.0.0.1", "unix:/x", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct network net;
        struct netaddr a;
        int rc =
            network_parse(rows[i].network, &net, NULL) | netaddr_parse(rows[i].address, &a, NULL);

        cr_assert_eq(rc, 0, "%s %s", rows[i].network, rows[i].address);
        cr_assert_eq(network_any_has(&net, 1, &a), rows[i].in, "%s %s", rows[i].network,
                     rows[i].address);
    }
}

Test(netaddr, bad_networks_are_refused)
{
    static const char *const rows[] = {"",     "*",         "10.0.0.0/33", "10.0.0.1/8", "::1/129",
                                       "10/8", "10.0.0.0/", "10.0.0.0/x",  "fd00::1/8",  "/8"};
    struct network net;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = network_parse(rows[i], &net, NULL);

        cr_assert_eq(rc, -ERR_INVALID, "%s", rows[i]);
    }
}

Test(netaddr, a_client_is_a_v4_address_or_a_v6_network)
{
    struct netaddr a;
    uint8_t one[16], two[16];
    int rc = netaddr_parse("[2001:db8:0:7::1]:1", &a, NULL);

    cr_assert_eq(rc, 0);
    cr_assert_eq(netaddr_client_key(&a, one), 8);
    rc = netaddr_parse("[2001:db8:0:7:ffff::9]:1", &a, NULL);
    cr_assert_eq(rc, 0);
    cr_assert_eq(netaddr_client_key(&a, two), 8);
    cr_assert_eq(memcmp(one, two, 8), 0);
    rc = netaddr_parse("192.0.2.1:1", &a, NULL);
    cr_assert_eq(rc, 0);
    cr_assert_eq(netaddr_client_key(&a, one), 4);
    rc = netaddr_parse("/x", &a, NULL);
    cr_assert_eq(rc, 0);
    cr_assert_eq(netaddr_client_key(&a, one), 0);
}
