#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""kill -9 under load (I21, I22, I24): what was answered 250 is there exactly once after the restart,
whatever was not is sent again, as an MTA does, and is then there exactly once too.

EIDER_KILLS: how often (default 10)."""
import os
import random
import re
import smtplib
import threading
import time

from harness import Eider, check, main

KILLS = int(os.environ.get('EIDER_KILLS', '10'))
SENDERS = 4
MIN_ACKED = 3  # before a kill comes, so that it hits a server at work


class Load:
    """Senders that deliver numbered messages until they are told to stop, each until its 250."""

    def __init__(self, eider, accounts):
        self.eider, self.accounts = eider, accounts
        self.numbers = iter(range(10 ** 9))
        self.lock = threading.Lock()
        self.acked, self.sent_twice = {a.login: set() for a in accounts}, 0
        self.refused = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        chance = random.Random(threading.get_ident())
        while not self.stopping.is_set():
            with self.lock:
                number = next(self.numbers)
            to = [a.login for a in chance.sample(self.accounts, chance.choice((1, 1, 2)))]
            self.deliver(number, to, make_message(number, chance))

    def deliver(self, number, to, message):
        tries = 0
        while to:
            tries += 1
            to = self.attempt(number, to, message)
            if to:
                time.sleep(0.02)
        with self.lock:
            self.sent_twice += tries > 1

    def attempt(self, number, to, message):
        """Who has not got it for sure."""
        left = list(to)
        try:
            with smtplib.LMTP('127.0.0.1', self.eider.lmtp_port, timeout=60) as lmtp:
                lmtp.ehlo_or_helo_if_needed()
                lmtp.mail('load@example.net')
                for address in to:
                    lmtp.rcpt(address)
                reply = lmtp.data(message)
                for i, address in enumerate(to):
                    code = (reply if i == 0 else lmtp.getreply())[0]
                    self.note(code, address, number, left)
        except (OSError, smtplib.SMTPException):
            pass
        return left

    def note(self, code, address, number, left):
        with self.lock:
            if code == 250:
                self.acked[address].add(number)
                left.remove(address)
            elif code >= 500:
                self.refused.append((code, address, number))
                left.remove(address)

    def count(self):
        with self.lock:
            return sum(len(numbers) for numbers in self.acked.values())

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        check(not any(t.is_alive() for t in self.threads), 'the senders end')


def make_message(number, chance):
    size = chance.choice((0, 0, 0, 10, 1000, 4000))
    body = b'%x line\r\n' % chance.getrandbits(64) * size
    return b'Subject: load\r\nX-Number: %d\r\n\r\n' % number + body


class Seen:
    """What an account shows, read on from where the last look ended."""

    def __init__(self, account):
        self.account, self.numbers, self.next_uid = account, [], 1

    def look(self, eider):
        with eider.imap(self.account) as imap:
            imap.select()
            answer = imap.uid('FETCH', f'{self.next_uid}:*',
                              '(BODY.PEEK[HEADER.FIELDS (X-NUMBER)])')[1]
        for item in answer:
            if isinstance(item, tuple):
                uid = int(re.search(rb'UID (\d+)', item[0])[1])
                if uid >= self.next_uid:  # n:* names the last one, even below n
                    self.numbers.append(int(re.search(rb'X-Number: (\d+)', item[1])[1]))
                    self.next_uid = uid + 1

    def check(self, acked, when):
        """`acked`: what was answered 250 before the look."""
        doubled = len(self.numbers) - len(set(self.numbers))
        check(not doubled, f'{when}: {self.account.login} has {doubled} twice')
        lost = sorted(acked[self.account.login] - set(self.numbers))
        check(not lost, f'{when}: {self.account.login} has lost: {lost}')


def check_exactly_once(eider, seen, acked, when):
    for one in seen:
        one.look(eider)
        one.check(acked, when)


def copy_of_acked(load):
    with load.lock:
        return {login: set(numbers) for login, numbers in load.acked.items()}


def test_I21_I22_I24_kill_9_under_delivery():
    chance = random.Random(1)
    with Eider('sqlite') as eider:
        accounts = [eider.account(f'{name}@example.org') for name in ('anna', 'bert', 'cleo')]
        load, seen = Load(eider, accounts), [Seen(a) for a in accounts]
        try:
            for i in range(KILLS):
                before, end = load.count(), time.monotonic() + 60
                while load.count() < before + MIN_ACKED and time.monotonic() < end:
                    time.sleep(0.005)
                check(load.count() >= before + MIN_ACKED, f'kill {i}: mail flows before it')
                time.sleep(chance.random() * 0.2)
                eider.kill()
                acked = copy_of_acked(load)
                eider.start()
                check_exactly_once(eider, seen, acked, f'after kill {i}')
        finally:
            load.stop()
        check(not load.refused, f'nothing is refused for good: {load.refused}')
        acked = copy_of_acked(load)
        seen = [Seen(a) for a in accounts]  # all of it again
        check_exactly_once(eider, seen, acked, 'at the end')
        for one in seen:
            check(set(one.numbers) == acked[one.account.login], 'nothing else is there')
        status, out, error = eider.cli('fsck', '--all', status=None)
        check(status == 0, f'eider fsck --all: {status}: {out[-2000:]} {error[-2000:]}')
        print(f'     {KILLS} kills, {load.count()} deliveries acknowledged, '
              f'{load.sent_twice} messages sent again')


if __name__ == '__main__':
    main(globals())
