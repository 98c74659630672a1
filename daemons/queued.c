/* SPDX-License-Identifier: MPL-2.0 */
/* eider-queued: takes mail out of the queue to other servers, in a process of its own. */
#include "daemons/serve.h"

int main(int argc, char **argv)
{
    return serve_main(argc, argv, SERVE_QUEUE);
}
