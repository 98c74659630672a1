#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""How soon a delivery is told to a session in IDLE: milliseconds from the 250 of the MTA's side (so
after the commit) to the EXISTS of the client's.

    announce.py BUILD [--messages N] [--idle N] [--where NAME,...]

BUILD is a build folder made with --buildtype=release. NAME: same (one node on MongoDB), other (two
nodes, MongoDB and Redis: delivered to one, in IDLE on the other), processes (two on one SQLite file).
--idle: so many other sessions are in IDLE on the same account's node, on accounts of their own.
A time below zero: the client knew before the MTA did.
"""
import argparse
import os
import pathlib
import selectors
import socket
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH.parent / 'e2e')]


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build')
    p.add_argument('--messages', type=int, default=1000)
    p.add_argument('--idle', type=int, default=0)
    p.add_argument('--where', default='same,other,processes')
    return p.parse_args()


class Talker:
    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b''

    def say(self, text, until):
        """Until a line begins with `until`."""
        self.socket.sendall(text)
        while not any(line.startswith(until) for line in self.data.split(b'\r\n')[:-1]):
            self.data += self.socket.recv(65536)
        self.data = b''


def idle(port, account):
    talker = Talker(port)
    talker.say(b'a LOGIN %s %s\r\n' % (account.login.encode(), account.password.encode()), b'a OK')
    talker.say(b'b SELECT INBOX\r\n', b'b OK')
    talker.say(b'c IDLE\r\n', b'+')
    return talker


def mta(port):
    talker = Talker(port)
    talker.say(b'LHLO bench\r\n', b'250 ')
    return talker


def one(sender, listener, account, n):
    """Milliseconds."""
    sender.say(b'MAIL FROM:<s@example.net>\r\n', b'250')
    sender.say(b'RCPT TO:<%s>\r\n' % account.login.encode(), b'250')
    sender.say(b'DATA\r\n', b'354')
    times = {}
    with selectors.DefaultSelector() as both:
        for talker, mark in ((sender, b'250 '), (listener, b' EXISTS\r\n')):
            both.register(talker.socket, selectors.EVENT_READ, (talker, mark))
        sender.socket.sendall(b'Subject: number %d\r\n\r\n%s\r\n.\r\n' % (n, os.urandom(8).hex().encode()))
        while len(times) < 2:
            for key, _ in both.select(60):
                talker, mark = key.data
                now = time.monotonic()
                talker.data += talker.socket.recv(65536)
                if mark in talker.data:
                    times[mark] = now
                    talker.data = b''
    return 1000 * (times[b' EXISTS\r\n'] - times[b'250 '])


def measure(deliver_to, idle_on, options):
    account = deliver_to.account('anna@bench.example')
    others = [idle(idle_on.imap_port, deliver_to.account(f'idle{i}@bench.example')) for i in range(options.idle)]
    listener, sender = idle(idle_on.imap_port, account), mta(deliver_to.lmtp_port)
    took = []
    for n in range(options.messages + 20):
        took.append(one(sender, listener, account, n))
        time.sleep(0.002)
    for talker in [*others, listener, sender]:
        talker.socket.close()
    return sorted(took[20:])


def report(name, took):
    at = lambda share: took[min(int(share * len(took)), len(took) - 1)]
    print(f'{name:10} {len(took):8} {at(0.5):8.2f} {at(0.9):8.2f} {at(0.99):8.2f} {took[-1]:8.2f}', flush=True)


def run(options):
    print('where      messages   p50 ms   p90 ms   p99 ms   max ms')
    for where in options.where.split(','):
        if where == 'other':
            with nodes.Nodes(settings='mail = { poll_interval = "1h"; };') as both:
                report(where, measure(both.nodes[0], both.nodes[1], options))
        elif where == 'same':
            with harness.Eider('mongodb') as eider:
                report(where, measure(eider, eider, options))
        else:
            with harness.Eider('sqlite') as first, \
                    harness.Eider('sqlite', uri=first.uri, folder=first.folder) as second:
                report(where, measure(first, second, options))


if __name__ == '__main__':
    OPTIONS = parse()
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import harness
    import nodes
    try:
        run(OPTIONS)
    finally:
        harness.Shared.end()
