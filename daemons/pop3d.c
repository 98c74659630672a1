/* SPDX-License-Identifier: MPL-2.0 */
/* eider-pop3d: the POP3 listeners of the configuration, in a process of their own. */
#include "daemons/serve.h"

int main(int argc, char **argv)
{
    return serve_main(argc, argv, 1u << CONF_POP3);
}
