#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""POP3 beside Dovecot, in one run.

    pop3.py BUILD [--only SERVER,...] [--sizes N,...] [--retr N] [--rounds N]

BUILD is a build folder made with --buildtype=release. Servers: sdbox, maildir (Dovecot), sqlite,
mongodb; each runs alone, in turn, on loopback, without TLS, and holds the same mail. Cells, each the first time after a start of the server and again:

    drop N    connection, login, STAT and LIST of a maildrop of N messages: milliseconds
    retr      all messages of a maildrop by RETR, one after the other: messages/s
    piped     the same with 64 commands under way (RFC 2449 PIPELINING)

Numbers are medians over the rounds. Ratios above 1 are better than sdbox.
"""
import argparse
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / 'e2e')]

DOMAIN, PASSWORD = 'bench.example', 'secret'


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build')
    p.add_argument('--only', default='sdbox,maildir,sqlite,mongodb')
    p.add_argument('--sizes', default='10000,100000', help='of maildrops')
    p.add_argument('--retr', type=int, default=10000, help='messages that are fetched')
    p.add_argument('--rounds', type=int, default=3)
    return p.parse_args()


class Server:
    """name, pop3, imap (ports), restart(), stop()."""

    def __init__(self, name, users):
        self.name = name
        self.dovecot = name in ('sdbox', 'maildir')
        if self.dovecot:
            self.server = dovecot.Dovecot(name, 'never', PASSWORD, pop3=True)
            self.pop3, self.imap = self.server.pop3, self.server.imap
        else:
            self.server = harness.Eider(name)
            for user in users:
                self.server.account(user, PASSWORD)
            self.pop3, self.imap = self.server.pop3_port, self.server.imap_port

    def restart(self):
        if self.dovecot:
            self.server.restart('optimized')
        else:
            self.server.restart()

    def stop(self):
        if self.dovecot:
            self.server.stop()
        else:
            self.server.close()


class Client:
    """A POP3 client that reads as fast as Python can: it counts ends of answers, nothing else."""

    def __init__(self, port, user):
        self.socket = socket.create_connection(('127.0.0.1', port), 300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.octets = 0
        self.line()
        self.say(b'USER %s\r\n' % user.encode())
        self.say(b'PASS %s\r\n' % PASSWORD.encode())

    def line(self):
        data = b''
        while not data.endswith(b'\r\n'):
            data += self.more()
        if not data.startswith(b'+OK'):
            raise RuntimeError(data.decode(errors='replace'))
        return data

    def more(self):
        data = self.socket.recv(262144)
        if not data:
            raise RuntimeError('connection lost')
        self.octets += len(data)
        return data

    def say(self, command):
        self.socket.sendall(command)
        return self.line()

    def lines(self, command):
        """Sends a command with a multi-line answer, and reads that."""
        self.socket.sendall(command)
        tail = b''
        while not tail.endswith(b'\r\n.\r\n'):
            tail = (tail + self.more())[-5:]

    def retr(self, count, window):
        sent = done = 0
        tail = b''
        while done < count:
            while sent < count and sent - done < window:
                ahead = min(count - sent, window - (sent - done))
                self.socket.sendall(b''.join(b'RETR %d\r\n' % (sent + i + 1) for i in range(ahead)))
                sent += ahead
            data = tail + self.more()
            done += data.count(b'\r\n.\r\n')
            tail = data[-4:]

    def quit(self):
        self.socket.sendall(b'QUIT\r\n')
        self.socket.close()


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def drop(port, user):
    client = Client(port, user)
    client.say(b'STAT\r\n')
    client.lines(b'LIST\r\n')
    client.quit()


def retr(port, user, count, window):
    client = Client(port, user)
    took = timed(lambda: client.retr(count, window))
    client.quit()
    return count / took


class Run:
    def __init__(self, options, server, results):
        self.o, self.server, self.results = options, server, results

    def note(self, cell, unit, values, higher_is_better):
        value = statistics.median(values)
        self.results.setdefault((cell, unit, higher_is_better), {})[self.server.name] = value
        print(f'    {self.server.name:8} {cell:24} {value:12,.2f} {unit}', flush=True)

    def fill(self, folder, user, count):
        load = pathlib.Path(self.o.build) / 'tests' / 'bench' / 'imap_load'
        done = subprocess.run([str(load), '--port', str(self.server.imap), '--user', user, '--password',
                               PASSWORD, '--append', 'INBOX', '--dir', folder, '--batch', '50',
                               '--clients', '4', '--count', str(count), '--seconds', '3600'],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def measure(self, folder, sizes):
        for size in sizes:
            user = f'drop{size}@{DOMAIN}'
            self.fill(folder, user, size)
            first, again = [], []
            for _ in range(self.o.rounds):
                self.server.restart()
                drop(self.server.pop3, f'warm@{DOMAIN}')  # processes, threads, the password's hash
                first.append(1000 * timed(lambda u=user: drop(self.server.pop3, u)))
                again += [1000 * timed(lambda u=user: drop(self.server.pop3, u)) for _ in range(3)]
            self.note(f'drop {size} first', 'ms', first, False)
            self.note(f'drop {size} again', 'ms', again, False)
        user = f'drop{max(sizes)}@{DOMAIN}'
        for name, window in (('retr', 1), ('piped', 64)):
            first, again = [], []
            for _ in range(self.o.rounds):
                self.server.restart()
                first.append(retr(self.server.pop3, user, self.o.retr, window))
                again.append(retr(self.server.pop3, user, self.o.retr, window))
            self.note(f'{name} {self.o.retr} first', '1/s', first, True)
            self.note(f'{name} {self.o.retr} again', '1/s', again, True)


def table(results, names):
    base_name = names[0]
    print(f'{"":26} ' + ''.join(f'{n:>14}' for n in names) + f'   of {base_name}')
    for (cell, unit, higher), values in results.items():
        base = values[base_name]
        numbers = ''.join(f'{values[n]:14,.2f}' for n in names)
        ratios = ' '.join(f'{(values[n] / base if higher else base / values[n]):8.2f}' for n in names[1:])
        print(f'{cell:26} {numbers} {unit:5}{ratios}')


def main(options):
    names, sizes = options.only.split(','), [int(n) for n in options.sizes.split(',')]
    users = [f'drop{n}@{DOMAIN}' for n in sizes] + [f'warm@{DOMAIN}']
    results = {}
    folder = tempfile.mkdtemp(prefix='bench-mail-')
    try:
        subprocess.run([sys.executable, str(BENCH / 'make_mail.py'), 'short', folder + '/short'], check=True)
        for name in names:
            server = Server(name, users)
            try:
                Run(options, server, results).measure(folder + '/short', sizes)
            finally:
                server.stop()
    finally:
        harness.Shared.end()
        shutil.rmtree(folder, ignore_errors=True)
    table(results, names)


if __name__ == '__main__':
    OPTIONS = parse()
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import dovecot
    import harness
    main(OPTIONS)
