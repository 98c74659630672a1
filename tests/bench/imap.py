#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""IMAP beside Dovecot, in one run.

    imap.py BUILD [--only SERVER,...] [--cells CELL,...] [--sizes N,...] [--rounds N] [--json FILE]

BUILD is a build folder made with --buildtype=release. Servers: sdbox (Dovecot, mail_fsync=always),
sqlite, mongodb; each runs alone, in turn, on loopback, without TLS. Cells:

    changes   APPEND, STORE, COPY, MOVE, EXPUNGE: one message at a time, waited for; 8 clients,
              each with an account of its own
    logins    connection, LOGIN, LOGOUT; 8 clients
    select    SELECT of a mailbox of each size: the first after a start, and again
    fetch     FETCH 1:* of FLAGS, ENVELOPE, BODYSTRUCTURE: the first after a start (1 client), and
              again (8 clients at once; messages/s of all); BODY[] one by one at random (8 clients)
              and all (1 client), of the last of the sizes up to 100000
    search    by flag and by header, in the same mailbox
    idle      idle connections (--idle N, Dovecot: 500): memory and processor time of each

Numbers are medians over the rounds of a cell within one start of the server. Ratios above 1 are
better than Dovecot.
"""
import argparse
import imaplib
import json
import os
import pathlib
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / 'e2e')]

DOMAIN, PASSWORD, CLIENTS = 'bench.example', 'secret', 8
CELLS = ('changes', 'logins', 'select', 'fetch', 'search', 'idle')
EACH = 1000     # messages in each small mailbox


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build')
    p.add_argument('--only', default='sdbox,sqlite,mongodb')
    p.add_argument('--cells', default=','.join(CELLS))
    p.add_argument('--sizes', default='10000,100000')
    p.add_argument('--seconds', type=float, default=4, help='of each measurement, at most')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--idle', type=int, default=5000)
    p.add_argument('--json', help='write the numbers there')
    return p.parse_args()


class Server:
    """name, port, pids(), restart(), stop()."""

    def __init__(self, name, users):
        self.name = name
        if name == 'sdbox':
            self.server = dovecot.Dovecot('sdbox', 'never', PASSWORD, processes=2000)
            self.port, self.tls_port = self.server.imap, None
        else:
            self.server = harness.Eider(name, settings='limits = { user_connections = 10000; };')
            self.server.cli('domain', 'add', DOMAIN)
            for user in users:
                self.server.account(user, PASSWORD)
            self.port, self.tls_port = self.server.imap_port, self.server.imaps_port

    def pids(self):
        return self.server.pids() if self.name == 'sdbox' else [self.server.process.pid]

    def restart(self):
        """Also: everything is durable from now on."""
        if self.name == 'sdbox':
            self.server.restart('always')
        else:
            self.server.restart()

    def stop(self):
        if self.name == 'sdbox':
            self.server.stop()
        else:
            self.server.close()


class Run:
    """One server under measurement; numbers go to results[cell][server]."""

    def __init__(self, options, server, folder, results):
        self.o, self.server, self.folder, self.results = options, server, folder, results
        self.load = str(pathlib.Path(options.build) / 'tests' / 'bench' / 'imap_load')

    def drive(self, user, *arguments, clients=1, seconds=None, setup=(), commands=()):
        words = [self.load, '--port', str(self.server.port), '--user', user, '--password', PASSWORD,
                 '--clients', str(clients), '--seconds', str(seconds or self.o.seconds)]
        for s in setup:
            words += ['--setup', s]
        for c in commands:
            words += ['--command', c]
        before = dovecot.cpu_seconds(self.server.pids())
        done = subprocess.run(words + [str(a) for a in arguments], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise RuntimeError(f'{self.server.name}: {" ".join(words)}: {done.stderr[-500:]}')
        result = json.loads(done.stdout)
        cpu = dovecot.cpu_seconds(self.server.pids()) - before
        result['cpu_ms'] = 1000 * cpu / max(1, result['commands'])
        return result

    def note(self, cell, unit, values, higher_is_better=True, extra=''):
        value = statistics.median(values)
        self.results.setdefault((cell, unit, higher_is_better), {})[self.server.name] = (value, extra)
        print(f'    {self.server.name:8} {cell:28} {value:14,.3f} {unit} {extra}', flush=True)

    def imap(self, user):
        client = imaplib.IMAP4('127.0.0.1', self.server.port, timeout=300)
        client.login(user, PASSWORD)
        return client

    def fill(self, user, mailbox, count, clients):
        if mailbox != 'INBOX':
            for u in range(1, clients + 1):
                client = self.imap(user.replace('%u', str(u)))
                client.create(mailbox)
                client.logout()
        began = time.monotonic()
        self.drive(user, '--append', mailbox, '--dir', f'{self.folder}/short', '--batch', 50,
                   '--count', count, clients=clients, seconds=3600)
        print(f'    {self.server.name:8} {count} messages in {time.monotonic() - began:.1f} s', flush=True)

    # ---- cells ----

    def changes(self):
        users = f'user%u@{DOMAIN}'
        for mailbox in ('Work', 'Moving', 'Going', 'Target'):
            self.fill(users, mailbox, EACH * CLIENTS if mailbox != 'Target' else CLIENTS, CLIENTS)
        self.server.restart()
        inbox = self.drive(users, '--append', 'INBOX', '--dir', f'{self.folder}/texts', clients=CLIENTS)
        self.tell('APPEND', inbox)
        for name, mailbox, setup, commands, some in (
                ('STORE', 'Work', (), ('UID STORE %n +FLAGS (\\Flagged)',), True),
                ('COPY', 'Work', (), ('UID COPY %n Target',), False),
                ('MOVE', 'Moving', (), ('UID MOVE %n Target',), True),
                ('EXPUNGE', 'Going', ('UID STORE 1:* +FLAGS.SILENT (\\Deleted)',),
                 ('UID EXPUNGE %n',), True)):
            self.tell(name, self.drive(users, '--last', EACH, *(('--count', EACH * CLIENTS * 9 // 10) if some else ()),
                                       clients=CLIENTS, setup=[f'SELECT {mailbox}', *setup], commands=commands))

    def tell(self, name, r):
        self.note(f'{name} x{CLIENTS}', '1/s', [r['rate']],
                  extra=f'p50 {r["p50_ms"]:.2f} ms, p99 {r["p99_ms"]:.2f} ms, CPU {r["cpu_ms"]:.3f} ms')

    def logins(self):
        self.server.restart()
        self.drive(f'user%u@{DOMAIN}', '--logins', clients=CLIENTS, seconds=1)
        self.tell('logins', self.drive(f'user%u@{DOMAIN}', '--logins', clients=CLIENTS))

    def sizes(self):
        return [int(n) for n in self.o.sizes.split(',')]

    def big(self, size):
        """The account with a mailbox of that size, filled once."""
        user = f'big{size}@{DOMAIN}'
        done = getattr(self, 'filled', set())
        if size not in done:
            self.fill(user, 'INBOX', size, CLIENTS)
            client = self.imap(user)
            client.select()
            client.store(f'1:{size * 9 // 10}', '+FLAGS.SILENT', '(\\Seen)')
            for k in range(10):
                client.store(f'{k * size // 10 + 1}:{k * size // 10 + size // 1000}', '+FLAGS.SILENT',
                             '(\\Flagged $Work)')
            client.logout()
            self.filled = done | {size}
            time.sleep(1)  # snapshots
        return user

    def select(self):
        for size in self.sizes():
            user = self.big(size)
            first, again = [], []
            for _ in range(self.o.rounds):
                self.server.restart()
                first.append(self.drive(user, '--count', 1, commands=['SELECT INBOX'])['p50_ms'])
                again.append(self.drive(user, '--count', 200, commands=['SELECT INBOX'])['p50_ms'])
            self.note(f'SELECT {size} first', 'ms', first, False)
            self.note(f'SELECT {size} again', 'ms', again, False)

    def of_100k(self):
        return max(n for n in self.sizes() if n <= 100000)

    def fetch(self):
        size = self.of_100k()
        user = self.big(size)
        for items in ('FLAGS', 'ENVELOPE', 'BODYSTRUCTURE'):
            first, alone, again = [], [], []
            command = [f'FETCH 1:* ({items})']
            for _ in range(self.o.rounds):
                self.server.restart()
                one = self.drive(user, '--count', 1, setup=['SELECT INBOX'], commands=command)
                first.append(size / one['p50_ms'] * 1000)
                two = self.drive(user, '--count', 3, setup=['SELECT INBOX'], commands=command)
                alone.append(size / two['min_ms'] * 1000)
                many = self.drive(user, clients=CLIENTS, setup=['SELECT INBOX'], commands=command)
                again.append(many['rate'] * size)
            self.note(f'FETCH {items} first', '1/s', first)
            self.note(f'FETCH {items} again', '1/s', alone)
            self.note(f'FETCH {items} again x{CLIENTS}', '1/s', again)
        self.server.restart()
        for word in ('first', 'again'):
            r = self.drive(user, '--last', size, '--random', clients=CLIENTS, setup=['SELECT INBOX'],
                           commands=['UID FETCH %n (BODY.PEEK[])'])
            self.note(f'BODY[] at random {word}', '1/s', [r['rate']],
                      extra=f'p50 {r["p50_ms"]:.3f} ms, CPU {r["cpu_ms"]:.3f} ms')
        self.server.restart()
        for word in ('first', 'again'):
            r = self.drive(user, '--count', 1, setup=['SELECT INBOX'], seconds=120,
                           commands=['UID FETCH 1:* (BODY.PEEK[])'])
            self.note(f'BODY[] all {word}', 'MB/s', [r['octets'] / r['p50_ms'] / 1000])

    def search(self):
        size = self.of_100k()
        user = self.big(size)
        self.server.restart()
        for name, keys in (('flag', 'FLAGGED'), ('keyword', 'UNKEYWORD $Work UNSEEN'),
                           ('header', 'SUBJECT budget'), ('other header', 'HEADER X-Bench 99')):
            for word in ('first', 'again'):
                r = self.drive(user, *(('--count', 1) if word == 'first' else ()), seconds=2,
                               setup=['SELECT INBOX'], commands=[f'SEARCH {keys}'])
                self.note(f'SEARCH {name} {word}', 'ms', [r['p50_ms']], False)

    # ---- idle connections ----

    def idle(self):
        for tls in (False, True):
            if tls and not self.server.tls_port:
                continue
            for word, idling in (('selected', False), ('IDLE', True)):
                self.server.restart()  # memory that was freed would be used again
                self.idle_once(tls, word, idling)

    def idle_once(self, tls, word, idling):
        count = self.o.idle if self.server.name != 'sdbox' else min(500, self.o.idle)
        warm = [self.connection(tls, idling, i) for i in range(20)]
        for s in warm:
            s.close()
        time.sleep(1)
        before, ticks = memory(self.server.pids()), None
        sockets = [self.connection(tls, idling, i) for i in range(count)]
        time.sleep(3)
        used = memory(self.server.pids()) - before
        ticks = dovecot.cpu_seconds(self.server.pids())
        time.sleep(10)
        ticks = dovecot.cpu_seconds(self.server.pids()) - ticks
        for s in sockets:
            s.close()
        time.sleep(2)
        self.note(f'{word} connection{" TLS" if tls else ""}', 'kB each', [used / count / 1024], False,
                  extra=f'{count} of them; CPU {100 * ticks / 10:.2f} % of a core in all')

    def connection(self, tls, idling, i):
        s = socket.create_connection(('127.0.0.1', self.server.tls_port if tls else self.server.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            s = CONTEXT.wrap_socket(s)
        lines = [f'a LOGIN user{i % CLIENTS + 1}@{DOMAIN} {PASSWORD}', 'a SELECT INBOX']
        read_until(s, b'* OK')
        for line in lines:
            s.sendall(line.encode() + b'\r\n')
            read_until(s, b'a OK')
        if idling:
            s.sendall(b'a IDLE\r\n')
            read_until(s, b'+ ')
        return s


CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


def read_until(s, what):
    data = b''
    while what not in data or not data.endswith(b'\r\n'):
        more = s.recv(65536)
        if not more:
            raise RuntimeError(f'connection lost: {data[-200:]}')
        data += more


def memory(pids):
    """Bytes of the processes that they do not share (PSS)."""
    total = 0
    for pid in pids:
        try:
            for line in pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text().split('\n'):
                if line.startswith('Pss:'):
                    total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


def table(results, names):
    print(f'{"":30} ' + ''.join(f'{n:>16}' for n in names) + '   of sdbox')
    for (cell, unit, higher), values in results.items():
        base = values.get('sdbox', (None,))[0]
        numbers = ''.join(f'{values[n][0]:16,.2f}' if n in values else f'{"-":>16}' for n in names)
        ratios = ' '.join(f'{(values[n][0] / base if higher else base / values[n][0]):8.2f}' for n in names
                          if base and n != 'sdbox' and n in values and values[n][0])
        print(f'{cell:30} {numbers} {unit:8}{ratios}')


def main(options):
    names, cells = options.only.split(','), options.cells.split(',')
    sizes = [int(n) for n in options.sizes.split(',')]
    users = [f'user{i}@{DOMAIN}' for i in range(1, CLIENTS + 1)] + [f'big{n}@{DOMAIN}' for n in sizes]
    results = {}
    folder = tempfile.mkdtemp(prefix='bench-mail-')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        for kind in ('short', 'texts'):
            subprocess.run([sys.executable, str(BENCH / 'make_mail.py'), kind, f'{folder}/{kind}'], check=True)
        for name in names:
            server = Server(name, users)
            run = Run(options, server, folder, results)
            try:
                for cell in cells:
                    getattr(run, cell)()
            finally:
                server.stop()
    finally:
        harness.Shared.end()
        shutil.rmtree(folder, ignore_errors=True)
    table(results, names)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {cell: {n: v[0] for n, v in values.items()} for (cell, _, _), values in results.items()}, indent=1))


if __name__ == '__main__':
    OPTIONS = parse()
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import dovecot
    import harness
    main(OPTIONS)
