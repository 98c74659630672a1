/* SPDX-License-Identifier: MPL-2.0 */
/* eider-submitd: the submission listeners of the configuration, in a process of their own. */
#include "daemons/serve.h"

int main(int argc, char **argv)
{
    return serve_main(argc, argv, 1u << CONF_SUBMISSION);
}
