#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Submission beside Postfix: to accounts here (Postfix with Dovecot behind it, by LMTP), and to the
queue and out of it (smtp-sink as the world).

    submit.py BUILD [--seconds S] [--rounds N] [--only NAME,...] [--cells local,queue]
              [--connections 1,8,32]

BUILD is a build folder made with --buildtype=release. Every server runs alone, in turn, over the
same messages (make_mail.py), with the same generator (lmtp_load --smtp: smtp-source cannot log in).
Each cell is measured N times in an order that changes; medians are shown. "accepted" is the rate of
250s, "through" of messages that have arrived: from the first MAIL until the last one lies in its
mailbox, or at smtp-sink. With Eider a 250 for an account here says that already.
Both are durable: Postfix writes its queue files with fsync before 250, as Eider's stores do; Dovecot
has mail_fsync=optimized, its default. Connections to the sink: at most 20 at once, for both. Postfix does not
hold back clients whose mail comes faster than it leaves (in_flow_delay = 0). CPU is that of all the
server's processes, mongod's apart. Needs root, as Postfix does.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / 'e2e')]

USERS, DOMAIN, AWAY = 100, 'bench.example', 'away.example'
SENDER, PASSWORD = f'user1@{DOMAIN}', 'Correct-Horse-7'
LIMIT_S = 300


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build')
    p.add_argument('--seconds', type=float, default=4, help='about, for each measurement')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--only', default='postfix,sqlite,mongodb')
    p.add_argument('--cells', default='local,queue')
    p.add_argument('--connections', default='1,8,32')
    p.add_argument('--mail', default='texts')
    p.add_argument('--format', default='sdbox', help="Dovecot's: sdbox or maildir")
    return p.parse_args()


class Sink:
    """smtp-sink, which throws away what it takes and counts."""

    def __init__(self):
        self.port = harness.free_ports(1)[0]
        self.process = subprocess.Popen(['smtp-sink', '-u', 'nobody', '-c', '-m', '1000', f'127.0.0.1:{self.port}', '1000'],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.messages = 0
        dovecot.wait_port(self.port)
        threading.Thread(target=self.count, daemon=True).start()

    def count(self):
        rest = b''
        while part := os.read(self.process.stdout.fileno(), 65536):
            rest = (rest + part)[-200:]
            if found := re.findall(rb'mesg=(\d+)', rest):
                self.messages = int(found[-1])

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Relay:
    """Postfix, with Dovecot for the accounts here and the sink for all others."""

    def __init__(self, sink, mail_format):
        self.dovecot = dovecot.Dovecot(mail_format)
        self.postfix = peers.Postfix(DOMAIN, extra=(
            'virtual_mailbox_maps = static:all\n'
            f'virtual_transport = lmtp:inet:127.0.0.1:{self.dovecot.lmtp}\n'
            f'relayhost = [127.0.0.1]:{sink.port}\nin_flow_delay = 0\n'))
        self.port, self.login = self.postfix.port, []

    def pids(self):
        master = int((self.postfix.folder / 'queue' / 'pid' / 'master.pid').read_text())
        return self.dovecot.pids() + dovecot.family(master)

    def empty(self):
        """Has all that was accepted left the queue?"""
        for name in ('incoming', 'active', 'deferred'):
            for _, _, files in os.walk(self.postfix.folder / 'queue' / name):
                if files:
                    return False
        return True

    def stop(self):
        self.postfix.close()
        self.dovecot.stop()


class Ours:
    def __init__(self, sink, store):
        self.eider = harness.Eider(store, settings=f'''
submission = {{ account_messages = 0; account_recipients = 0; address_messages = 0;
    address_recipients = 0; transactions = 0; }};
sending = {{ connections = 20; routes = ( {{ host = "127.0.0.1"; port = {sink.port}; tls = "none"; }} ); }};
''')
        self.eider.account(SENDER, PASSWORD)
        users = ''.join(f'user{i}@{DOMAIN}\n' for i in range(2, USERS + 1))
        self.eider.cli('account', 'add', '--file', '-', stdin=users)
        self.eider.cli('account', 'sending', SENDER, '--senders', '*')
        self.port, self.login = self.eider.submit_port, ['--password', PASSWORD]

    def pids(self):
        return [self.eider.process.pid]

    def empty(self):
        return True

    def stop(self):
        self.eider.close()


def measure(load, server, sink, cell, mail, connections, count):
    before, taken = dovecot.cpu_seconds(server.pids()), sink.messages
    began = time.monotonic()
    done = subprocess.run([load, '--smtp', '--sender', SENDER, *server.login, '--port', str(server.port),
                           '--connections', str(connections), '--messages', str(count), '--users', str(USERS),
                           '--domain', DOMAIN if cell == 'local' else AWAY, mail],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{done.stderr[-500:]}')
    result = json.loads(done.stdout)
    through = (lambda: sink.messages >= taken + count) if cell == 'queue' else server.empty
    took = result['seconds']
    while not through():
        if time.monotonic() > began + LIMIT_S:
            raise RuntimeError(f'{sink.messages - taken} of {count} after {LIMIT_S} s')
        time.sleep(0.01)
        took = time.monotonic() - began
    result['through'] = count / took
    result['cpu_ms'] = 1000 * (dovecot.cpu_seconds(server.pids()) - before) / count
    return result


def run(options, folder):
    load = str(pathlib.Path(options.build) / 'tests' / 'bench' / 'lmtp_load')
    results, names = {}, options.only.split(',')
    mail = f'{folder}/{options.mail}'
    for n in range(options.rounds):
        for name in names[n % len(names):] + names[:n % len(names)]:
            sink = Sink()
            server = Relay(sink, options.format) if name == 'postfix' else Ours(sink, name)
            try:
                for cell in options.cells.split(','):
                    measure(load, server, sink, cell, mail, 8, 200)         # warm
                    for connections in map(int, options.connections.split(',')):
                        probe = measure(load, server, sink, cell, mail, connections, 150)
                        count = max(200, min(20000, int(probe['through'] * options.seconds)))
                        one = measure(load, server, sink, cell, mail, connections, count)
                        results.setdefault((cell, connections, name), []).append(one)
                        print(f'# {cell} {connections} {name}: {one["rate"]:.0f}/s accepted, '
                              f'{one["through"]:.0f}/s through', file=sys.stderr, flush=True)
            finally:
                server.stop()
                sink.stop()
    return results


def table(results):
    def median(key, field):
        return statistics.median(r[field] for r in results[key])
    print('cell   connections  server    accepted/s  through/s  of postfix   p50 ms   p99 ms  CPU ms/message')
    for key in sorted(results, key=lambda k: (k[0], k[1], k[2] != 'postfix', k[2])):
        cell, connections, name = key
        base = (cell, connections, 'postfix')
        ratio = f'{median(key, "through") / median(base, "through"):10.2f}' if base in results else f'{"-":>10}'
        print(f'{cell:6}{connections:12}  {name:8}  {median(key, "rate"):10.0f} {median(key, "through"):10.0f}  {ratio}'
              f'  {median(key, "p50_ms"):7.1f}  {median(key, "p99_ms"):7.1f}  {median(key, "cpu_ms"):8.3f}')


if __name__ == '__main__':
    OPTIONS = parse()
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import dovecot
    import harness
    import peers
    with tempfile.TemporaryDirectory(prefix='bench-mail-') as FOLDER:
        subprocess.run([sys.executable, str(BENCH / 'make_mail.py'), OPTIONS.mail, f'{FOLDER}/{OPTIONS.mail}'], check=True)
        try:
            table(run(OPTIONS, FOLDER))
        finally:
            harness.Shared.end()
