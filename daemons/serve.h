/* SPDX-License-Identifier: MPL-2.0 */
/* serve: a process that listens and serves until it is told to stop.
 *
 * `eider serve` opens all listeners of the configuration; eider-imapd, eider-pop3d and eider-lmtpd
 * are the same with the listeners of one protocol. SIGTERM or SIGINT: accepting stops, commands in
 * progress end, idle sessions hear good-bye in waves over shutdown.drain; a second one ends at
 * once. SIGHUP: the file is read again; certificates and the log level take effect, for the rest a
 * line in the log names what needs a restart. All settings are read and all ports open before READY
 * is told to systemd.
 */
#pragma once

#include "lib/conf/conf.h"

#define SERVE_QUEUE (1u << 31) /* no listeners: the queue is run (with others: if so set) */
#define SERVE_ALL                                                                                  \
    (1u << CONF_IMAP | 1u << CONF_LMTP | 1u << CONF_POP3 | 1u << CONF_SUBMISSION |                 \
     1u << CONF_HTTP | SERVE_QUEUE)

/* argv[0] is the command's name for messages and usage; options: -c FILE, --help, --version.
 * `protocols`: bits 1 << enum conf_protocol, and SERVE_QUEUE. Returns the exit status: 0 after a
 * clean end, 1 if it cannot start (said on stderr), 2 for a wrong command line. */
int serve_main(int argc, char **argv, unsigned protocols);
