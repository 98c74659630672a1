/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/bus/bus.h"
#include "lib/bus/redis_uri.h"

static struct redis_uri parse(const char *text)
{
    struct redis_uri u = {0};
    struct error err;

    cr_assert_eq(redis_uri_parse(slice_str(text), true, &u, &err), 0, "%s: %s", text, err.text);
    return u;
}

Test(uri, a_bare_host_has_defaults)
{
    struct redis_uri u = parse("redis.example.org");

    cr_assert_str_eq(u.places[0].host, "redis.example.org");
    cr_assert_str_eq(u.places[0].port, "6379");
    cr_assert_str_eq(u.prefix, "eider");
    cr_assert_null(u.login.user);
    cr_assert_null(u.login.password);
    cr_assert_null(u.master);
    redis_uri_done(&u);
}

Test(uri, everything_can_be_said)
{
    struct redis_uri u =
        parse("me:p%40%2fs@h1:1,[::1]:2,h3/?sentinel=mail&sentinel_user=s"
              "&sentinel_password=t&prefix=b%20c&cafile=/ca&certfile=/c&keyfile=/k");

    cr_assert_str_eq(u.login.user, "me");
    cr_assert_str_eq(u.login.password, "p@/s");
    cr_assert_eq(u.places_n, 3);
    cr_assert_str_eq(u.places[0].port, "1");
    cr_assert_str_eq(u.places[1].host, "::1");
    cr_assert_str_eq(u.places[1].port, "2");
    cr_assert_str_eq(u.places[2].port, "26379", "a Sentinel's");
    cr_assert_str_eq(u.master, "mail");
    cr_assert_str_eq(u.sentinel_login.user, "s");
    cr_assert_str_eq(u.sentinel_login.password, "t");
    cr_assert_str_eq(u.prefix, "b c");
    cr_assert_str_eq(u.cafile, "/ca");
    cr_assert_str_eq(u.certfile, "/c");
    cr_assert_str_eq(u.keyfile, "/k");
    redis_uri_done(&u);
}

Test(uri, checking_opens_nothing_and_tells_no_password)
{
    struct error err;

    cr_assert_eq(bus_check("local:", &err), 0);
    cr_assert_eq(bus_check("redis://:geheim@nowhere.invalid", &err), 0);
    cr_assert_eq(bus_check("redis://:geheim@nowhere.invalid?what=1", &err), -ERR_INVALID);
    cr_assert_null(strstr(err.text, "geheim"));
    cr_assert_eq(bus_check("local:x", &err), -ERR_INVALID);
    cr_assert_eq(bus_check("amqp://x", &err), -ERR_INVALID);
}
