#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Nodes that share a store tell each other what changes (I14), and nothing but time depends on their
hints (I28). Bounds are generous; tests/bench/announce.py measures."""
import imaplib
import pathlib
import random
import re
import socket
import time

from harness import Eider, Failed, check, main, wait_for
from nodes import HintProxy, Nodes, Redis

SLOW = 'mail = { poll_interval = "1h"; };'  # so that hints are all there is
FAST = 'mail = { poll_interval = "2s"; };'


class Idler:
    """A session in IDLE on one node."""

    def __init__(self, eider, account):
        self.imap = imaplib.IMAP4('127.0.0.1', eider.imap_port, timeout=60)
        self.imap.login(account.login, account.password)
        self.exists = int(self.imap.select()[1][0])
        self.imap.send(b'idle IDLE\r\n')
        while not self.line().startswith(b'+'):
            pass

    def line(self):
        line = self.imap.readline()
        if found := re.match(rb'\* (\d+) EXISTS', line):
            self.exists = int(found[1])
        return line

    def await_line(self, pattern, seconds):
        """Seconds until a line that matches came."""
        began = time.monotonic()
        self.imap.sock.settimeout(seconds)
        try:
            while not re.search(pattern, self.line()):
                check(time.monotonic() - began < seconds, f'{pattern} within {seconds} s')
        except (socket.timeout, TimeoutError, imaplib.IMAP4.abort):
            raise Failed(f'{pattern} was not told within {seconds} s')
        self.imap.sock.settimeout(60)
        return time.monotonic() - began

    def await_exists(self, n, seconds):
        """Several may be told at once."""
        end = time.monotonic() + seconds
        while self.exists < n:
            self.await_line(rb' EXISTS', max(end - time.monotonic(), 0.1))

    def end(self):
        self.imap.send(b'DONE\r\n')
        while not self.line().startswith(b'idle OK'):
            pass
        return self.imap


def message(n):
    return b'Subject: number %d\r\n\r\nhello\r\n' % n


def flags_by_uid(imap):
    imap.noop()
    imap.untagged_responses.clear()
    found = imap.uid('FETCH', '1:*', '(FLAGS)')[1]
    return {int(re.search(rb'UID (\d+)', x)[1]): b' '.join(sorted(re.search(rb'FLAGS \((.*?)\)', x)[1].split()))
            for x in found if x and b'FLAGS' in x}


def check_agreement(both, account):
    """Fresh sessions on each node show the same."""
    shown = []
    for node in both.nodes:
        with node.imap(account) as imap:
            imap.select()
            shown.append(flags_by_uid(imap))
    check(shown[0] == shown[1], f'the nodes agree: {shown}')
    return shown[0]


def test_I14_a_delivery_to_one_node_is_told_on_the_other():
    with Nodes(settings=SLOW) as both:
        anna = both.account('anna@example.org')
        idlers = [Idler(node, anna) for node in both.nodes]
        for n in range(10):
            both.nodes[n % 2].deliver(anna.login, message(n))
            for idler in idlers:
                idler.await_exists(n + 1, 30)
        sessions = [idler.end() for idler in idlers]
        check(b'OK' in sessions[0].store('1:5', '+FLAGS', r'(\Seen)')[0].encode(), 'STORE')
        again = Idler(both.nodes[1], anna)
        sessions[0].store('6', '+FLAGS', r'(\Answered)')
        again.await_line(rb'FETCH .*\\Answered', 30)
        sessions[0].store('7', '+FLAGS', r'(\Deleted)')
        sessions[0].expunge()
        again.await_line(rb'\* 7 EXPUNGE', 30)
        check(len(check_agreement(both, anna)) == 9, 'nine are left')
        idler = Idler(both.nodes[1], anna)
        maildir = pathlib.Path(both.folder) / 'Maildir'
        for name in ('cur', 'new', 'tmp'):
            (maildir / name).mkdir(parents=True)
        (maildir / 'new' / '1.one').write_bytes(message(99))
        both.cli('import', 'maildir', '--account', anna.login, str(maildir))
        idler.await_exists(10, 30)  # the administrator's commands give hints too


def test_I14_without_redis_it_is_told_within_the_poll_interval():
    redis = Redis()
    try:
        with Nodes(settings=FAST, bus=f'redis://127.0.0.1:{redis.port}') as both:
            anna = both.account('anna@example.org')
            idler = Idler(both.nodes[1], anna)
            redis.stop()
            both.nodes[0].deliver(anna.login, message(1))
            idler.await_exists(1, 30)
            for node in both.nodes:
                wait_for(lambda log=node: b'hints=none' in log.log(), 20, 'the log says so')
            redis.start()
            for node in both.nodes:
                wait_for(lambda log=node: log.log().count(b'hints=flow') == 2, 30, 'hints flow again')
            both.nodes[0].deliver(anna.login, message(2))
            idler.await_exists(2, 30)
    finally:
        redis.stop()


def suffer(both, proxy, account, mode):
    """Sessions in IDLE and at work on both nodes, while hints suffer."""
    chance = random.Random(mode)
    idlers = [Idler(node, account) for node in both.nodes]
    workers = [node.imap(account) for node in both.nodes]
    before = idlers[0].exists
    for worker in workers:
        worker.select()
    proxy.mode = mode
    for n in range(before + 1, before + 11):
        both.nodes[chance.randrange(2)].deliver(account.login, message(n))
        worker = chance.choice(workers)
        worker.noop()
        worker.store(str(chance.randint(1, n)), chance.choice('+-') + 'FLAGS', r'(\Flagged)')
    for idler in idlers:
        idler.await_exists(before + 10, 30)
    for worker in workers:
        worker.logout()
    final = check_agreement(both, account)
    check(len(final) == before + 10, 'all are there')
    for idler in idlers:
        check(flags_by_uid(session := idler.end()) == final, 'who was told by hints agrees')
        session.logout()
    check(mode == 'wild' or proxy.counts[mode], f'the proxy had work: {proxy.counts}')


def test_I28_hints_that_are_lost_doubled_late_or_out_of_order_cost_time_only():
    proxy = HintProxy(Redis.get())
    try:
        with Nodes(settings=FAST, bus=f'redis://127.0.0.1:{proxy.port}?prefix=suffer') as both:
            anna = both.account('anna@example.org')
            for mode in ('lose', 'double', 'delay', 'reorder', 'wild'):
                suffer(both, proxy, anna, mode)
    finally:
        proxy.close()


def test_I14_two_processes_on_one_embedded_store_see_each_other():
    with Eider('sqlite', settings=SLOW) as one, \
            Eider('sqlite', settings=SLOW, uri=one.uri, folder=one.folder) as other:
        anna = one.account('anna@example.org')
        idler = Idler(other, anna)
        for n in range(1, 6):
            one.deliver(anna.login, message(n))
            idler.await_exists(n, 30)
        idler.end()


def test_haproxy_deals_connections_out_and_a_dead_node_costs_a_reconnect():
    with Nodes() as both:
        anna = both.account('anna@example.org')
        both.deliver(anna.login, message(1))
        sessions = [both.imap(anna) for _ in range(4)]
        for session in sessions:
            check(session.select()[1] == [b'1'], 'each node shows it')
        both.nodes[0].kill()
        alive = 0
        for session in sessions:
            try:
                alive += session.noop()[0] == 'OK'
            except (imaplib.IMAP4.abort, OSError):
                pass
        check(alive == 2, f'two of four sessions were on the other node: {alive}')
        for _ in range(4):
            with both.imap(anna) as again:
                check(again.select()[1] == [b'1'], 'and new ones get there')
        both.nodes[0].start()


if __name__ == '__main__':
    main(globals())
