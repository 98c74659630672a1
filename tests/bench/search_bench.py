#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""SEARCH BODY and TEXT beside Dovecot's, which has no full text index here and scans.

    search_bench.py BUILD [--only SERVER,...] [--messages N] [--rounds N]

BUILD is a build folder made with --buildtype=release. Servers: sdbox (Dovecot), sqlite, mongodb,
and scan (Eider on SQLite without an index); each runs alone, in turn, on loopback, one client. The
messages differ: 60,000 made-up words with Zipf's frequencies, a header of usual size, texts of
1 to 9 kB. "first" is the first search after a start of the server (the system's cache is warm for
all), "again" the best of the next ones. Every server must find the same messages.
"""
import argparse
import bisect
import itertools
import os
import pathlib
import random
import socket
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / 'e2e')]

USER, PASSWORD = 'search@bench.example', 'secret'
WORDS, BATCH = 60000, 50


def parse():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build')
    p.add_argument('--only', default='sdbox,sqlite,mongodb')
    p.add_argument('--messages', type=int, default=100000)
    p.add_argument('--rounds', type=int, default=3)
    return p.parse_args()


class Corpus:
    """Message i is always the same."""

    def __init__(self):
        rnd = random.Random(1)
        onsets = 'b c ch cl d dr f g gr h j k l m n p pl pr qu r s sh sp st t th tr v w z'.split() + [''] * 3
        vowels = 'a e i o u ai ea ee ou y a e i o'.split()
        ends = 'n r s t l m d ng ck nd st rs ly on er ed tion'.split() + [''] * 8
        seen = {}
        while len(seen) < WORDS:
            n = rnd.choice((1, 1, 2, 2, 2, 3, 3, 4)) if len(seen) > 300 else rnd.choice((1, 1, 2))
            seen[''.join(rnd.choice(onsets) + rnd.choice(vowels) + rnd.choice(ends) for _ in range(n))] = 1
        self.words, self.made = list(seen), []
        self.weights = list(itertools.accumulate(1 / (i + 2.7) for i in range(WORDS)))

    def some(self, rnd, n):
        total, at = self.weights[-1], bisect.bisect
        return [self.words[min(WORDS - 1, at(self.weights, rnd.random() * total))] for _ in range(n)]

    def messages(self, first, end):
        """Made once, for the first server."""
        while len(self.made) < end:
            self.made.append(self.message(len(self.made)))
        return self.made[first:end]

    def message(self, i):
        rnd = random.Random(i)
        words = self.some(rnd, rnd.randrange(150, 1500))
        if i % 2000 == 7:
            words.insert(len(words) // 2, 'Xerxoquist')  # in one of 2,000, and not at the front
        if i % 100 == 3:
            words.insert(len(words) // 2, 'vellumbra')
        if i % 2:
            words.insert(len(words) // 2, 'oddmarker')
        lines = [' '.join(words[k:k + 10]) for k in range(0, len(words), 10)]
        token = rnd.getrandbits(1300)
        return (f'Received: from mx{i % 97}.example.net (mx.example.net [192.0.2.{i % 250}])\r\n'
                f'\tby relay.example.org (Postfix) with ESMTPS id {token & 0xffffffffff:010X}\r\n'
                f'\tfor <{USER}>; Mon, 5 Oct 2026 10:{i % 60:02}:{i // 60 % 60:02} +0000\r\n'
                f'DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;\r\n\tb='
                + '\r\n\t '.join(f'{token:0326x}'[k:k + 70] for k in range(0, 326, 70)) + '\r\n'
                f'Message-ID: <{token & 0xffffffffffffff:x}.{i}@example.net>\r\n'
                f'Date: Mon, 5 Oct 2026 10:{i % 60:02}:00 +0000\r\n'
                f'From: "{words[0].title()}" <{words[1]}@example.net>\r\nTo: <{USER}>\r\n'
                f'Subject: {" ".join(words[2:8])}\r\nMIME-Version: 1.0\r\n'
                'Content-Type: text/plain; charset=utf-8\r\n\r\n' + '\r\n'.join(lines) + '\r\n').encode()


class Client:
    def __init__(self, port):
        self.s = socket.create_connection(('127.0.0.1', port))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.f = self.s.makefile('rb')
        self.f.readline()
        self.run(f'LOGIN {USER} {PASSWORD}'.encode())

    def run(self, command):
        self.s.sendall(b'a ' + command + b'\r\n')
        lines = []
        while True:
            line = self.f.readline()
            if line.startswith(b'a '):
                break
            lines.append(line)
            if not line:
                break
        if not line.startswith(b'a OK'):
            raise RuntimeError(f'{command[:60]}: {line}')
        return lines

    def search(self, keys):
        began = time.monotonic()
        lines = self.run(b'UID SEARCH ' + keys.encode())
        took = time.monotonic() - began
        found = [line.split()[2:] for line in lines if line.startswith(b'* SEARCH')]
        return took, found[0]


class Server:
    def __init__(self, name):
        self.name, self.dovecot = name, name == 'sdbox'
        if self.dovecot:
            self.server = dovecot.Dovecot('sdbox', 'never', PASSWORD)
        else:
            self.server = harness.Eider('sqlite' if name == 'scan' else name, settings='mail = { index_after = 0; };'
                                        if name == 'scan' else '')
            self.server.cli('domain', 'add', 'bench.example')
            self.server.account(USER, PASSWORD)

    def client(self):
        return Client(self.server.imap if self.dovecot else self.server.imap_port)

    def restart(self):
        self.server.restart('never') if self.dovecot else self.server.restart()

    def stop(self):
        self.server.stop() if self.dovecot else self.server.close()


def fill(client, corpus, n):
    octets = 0
    for start in range(0, n, BATCH):
        parts = corpus.messages(start, min(n, start + BATCH))
        octets += sum(map(len, parts))
        client.run(b'APPEND INBOX' + b''.join(b' (%s) {%d+}\r\n%s' % (b'\\Seen' if start % 1000 else b'', len(p), p)
                                              for p in parts))
    return octets


def wait_for_index(server, n):
    """Until no new segments are made: what a search does not find in the index has it extended."""
    client, began, said = server.client(), time.monotonic(), -1
    client.run(b'SELECT INBOX')
    while time.monotonic() - began < 900:
        client.search('BODY zzzqqqxxx')
        time.sleep(3)
        lines = [l for l in server.server.log().split(b'\n') if b' textindex ' in l]
        done = sum(int(l.split(b'messages=')[1].split()[0]) for l in lines)
        if done >= n - 256 and len(lines) == said:
            break
        said = len(lines)
    ms = sum(int(l.split(b' ms=')[1]) for l in lines)
    print(f'    {server.name}: {done} messages indexed in {ms} ms of work, '
          f'{(time.monotonic() - began):.0f} s after the last one')


SEARCHES = (
    ('BODY, in none', 'BODY zzzqqqxxx'), ('BODY, in 1 of 2,000', 'BODY xerxoquist'),
    ('BODY, part of a word', 'BODY rxoqu'), ('BODY, in 1 of 100', 'BODY vellumbra'),
    ('BODY, in 1 of 2', 'BODY oddmarker'), ('NOT BODY, in 1 of 100', 'NOT BODY vellumbra'),
    ('OR of two BODY', 'OR BODY xerxoquist BODY zzzqqqxxx'), ('two letters', 'BODY qj'),
    ('TEXT, in none', 'TEXT zzzqqqxxx'), ('TEXT, in 1 of 2,000', 'TEXT xerxoquist'),
    ('UNSEEN BODY', 'UNSEEN BODY oddmarker'), ('SUBJECT', 'SUBJECT xerx'), ('flags', 'UNSEEN'))


def measure(server, rounds, results, answers):
    for name, keys in SEARCHES:
        server.restart()
        client = server.client()
        client.run(b'SELECT INBOX')
        first, found = client.search(keys)
        again = min(client.search(keys)[0] for _ in range(rounds))
        if answers.setdefault(name, found) != found:
            print(f'    {server.name} finds {len(found)} by {keys}, others {len(answers[name])}', flush=True)
        results[name, server.name] = (first, again, len(found))
        print(f'    {server.name:8} {name:24} {first * 1000:10.1f} {again * 1000:10.1f} ms  {len(found)}', flush=True)


def report(results, names):
    print(f'{"":24}' + ''.join(f'{n + " first, again (ms)":>28}' for n in names) + '   Dovecot / ours')
    for name, _ in SEARCHES:
        line, base = f'{name:24}', results.get((name, 'sdbox'))
        for n in names:
            first, again, _ = results[name, n]
            line += f'{first * 1000:17.1f}, {again * 1000:9.1f}'
        if base:
            line += '  ' + '; '.join(f'{n} {base[0] / results[name, n][0]:.1f}, {base[1] / results[name, n][1]:.1f}'
                                     for n in names if n != 'sdbox')
        print(line)


def main(options):
    corpus, results, answers = Corpus(), {}, {}
    for name in options.only.split(','):
        server = Server(name)
        try:
            began = time.monotonic()
            octets = fill(server.client(), corpus, options.messages)
            print(f'{name}: {options.messages} messages, {octets / 1e6:.0f} MB, in {time.monotonic() - began:.0f} s',
                  flush=True)
            if name in ('sqlite', 'mongodb'):
                wait_for_index(server, options.messages)
            if name == 'sqlite':
                with sqlite3.connect(f'{server.server.folder}/eider.db') as db:
                    for table in ('textindex', 'messages'):
                        print(f'    {table}: %d rows, %d octets' % db.execute(
                            f'SELECT count(*), coalesce(sum(length(h)), 0) + coalesce(sum(length(b)), 0) '
                            f'FROM {table}').fetchone())
            measure(server, options.rounds, results, answers)
        finally:
            server.stop()
    report(results, options.only.split(','))


if __name__ == '__main__':
    OPTIONS = parse()
    os.environ['EIDER_BIN'] = str(pathlib.Path(OPTIONS.build) / 'daemons')
    import sqlite3

    import dovecot
    import harness
    try:
        main(OPTIONS)
    finally:
        harness.Shared.end()
