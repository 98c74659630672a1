/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/connections.h"

#include <criterion/criterion.h>

Test(connections, counts_each_account_up_to_its_limit)
{
    struct connections *c = connections_new();

    cr_expect(connections_in(c, 1, 2));
    cr_expect(connections_in(c, 1, 2));
    cr_expect_not(connections_in(c, 1, 2));
    cr_expect(connections_in(c, 2, 1));
    cr_expect_not(connections_in(c, 2, 1));
    connections_out(c, 1);
    cr_expect(connections_in(c, 1, 2));
    cr_expect(connections_in(c, 1, 0));
    for (int i = 0; i < 3; i++)
        connections_out(c, 1);
    cr_expect(connections_in(c, 1, 1));
    connections_free(c);
}
