#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Deliveries by LMTP beside Dovecot's and beside the raw limit, in one run.

    delivery.py BUILD [--seconds S] [--only NAME,...] [--rounds N]

BUILD is a build folder made with --buildtype=release. Every server runs alone, in turn, over the
same messages (make_mail.py), 100 users, one domain; each cell is measured N times in an order that
changes, and the median is shown. CPU is that of all the server's processes (MongoDB's: without
mongod, then with it). Dovecot writes with mail_fsync=optimized, its default.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / 'e2e')]

USERS, DOMAIN = 100, 'bench.example'
CONNECTIONS = (1, 8, 32)


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build')
    p.add_argument('--seconds', type=float, default=4, help='about, for each measurement')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--only', default='sdbox,maildir,sqlite,mongodb')
    p.add_argument('--mail', default='texts,mix')
    return p.parse_args()


class Server:
    """name, port, pids(), stop()."""

    def __init__(self, name):
        self.name = name
        if name in ('sdbox', 'maildir'):
            self.server = dovecot.Dovecot(name)
            self.port, self.pids = self.server.lmtp, self.server.pids
            self.stop = self.server.stop
        else:
            self.server = harness.Eider(name)
            self.server.cli('domain', 'add', DOMAIN)
            users = ''.join(f'user{i}@{DOMAIN}\n' for i in range(1, USERS + 1))
            self.server.cli('account', 'add', '--file', '-', stdin=users)
            self.port = self.server.lmtp_port
            self.pids = lambda: [self.server.process.pid]
            self.stop = self.server.close


def measure(load, server, mail, connections, count):
    before = dovecot.cpu_seconds(server.pids())
    done = subprocess.run([load, '--port', str(server.port), '--connections', str(connections),
                           '--messages', str(count), '--users', str(USERS), '--domain', DOMAIN,
                           mail], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{server.name}: {done.stderr[-500:]}')
    result = json.loads(done.stdout)
    result['cpu_ms'] = 1000 * (dovecot.cpu_seconds(server.pids()) - before) / count
    return result


def run(options, folder):
    load = str(pathlib.Path(options.build) / 'tests' / 'bench' / 'lmtp_load')
    results = {}
    names = options.only.split(',')
    for n in range(options.rounds):
        for name in names[n % len(names):] + names[:n % len(names)]:
            server = Server(name)
            try:
                for mail in options.mail.split(','):
                    path = f'{folder}/{mail}'
                    measure(load, server, path, 8, 400)         # warm
                    for connections in CONNECTIONS:
                        probe = measure(load, server, path, connections, 150)
                        count = max(200, min(20000, int(probe['rate'] * options.seconds)))
                        results.setdefault((mail, connections, name), []).append(
                            measure(load, server, path, connections, count))
            finally:
                server.stop()
    return results


def table(results):
    def median(key, field):
        return statistics.median(r[field] for r in results[key])
    base = {}
    print('mail  connections  server    messages/s  of sdbox  of maildir  MB/s   p50 ms   p99 ms  CPU ms/message')
    for key in sorted(results, key=lambda k: (k[0] != 'texts', k[1], k[2] in ('sqlite', 'mongodb'), k[2])):
        mail, connections, name = key
        rate = median(key, 'rate')
        base[mail, connections, name] = rate
        ratios = [f'{rate / base[mail, connections, d]:9.2f}' if (mail, connections, d) in base else '        -'
                  for d in ('sdbox', 'maildir')]
        print(f'{mail:6}{connections:11}  {name:8}  {rate:10.0f} {ratios[0]} {ratios[1]}  {median(key, "megabytes_per_second"):6.1f}'
              f'  {median(key, "p50_ms"):7.1f}  {median(key, "p99_ms"):7.1f}  {median(key, "cpu_ms"):8.3f}')


if __name__ == '__main__':
    OPTIONS = parse()
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import dovecot
    import harness
    with tempfile.TemporaryDirectory(prefix='bench-mail-') as FOLDER:
        for KIND in OPTIONS.mail.split(','):
            subprocess.run([sys.executable, str(BENCH / 'make_mail.py'), KIND, f'{FOLDER}/{KIND}'], check=True)
        try:
            table(run(OPTIONS, FOLDER))
        finally:
            harness.Shared.end()
