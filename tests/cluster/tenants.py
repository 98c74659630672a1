# SPDX-License-Identifier: MPL-2.0
"""Accounts that come and go while everything breaks: made, used by IMAP and LMTP, deleted (I32). Their
addresses are used again, by accounts that must begin empty."""
import imaplib
import json
import subprocess
import time

from clients import TIMEOUT, TROUBLE, Mta, make_message

ADDRESSES = 4


class Account:
    """One life of an address; `name` is what histories call it."""

    def __init__(self, login, password, name=None):
        self.login, self.password, self.name = login, password, name or login
        self.id = None


class Tenant(Mta):
    def __init__(self, name, cluster, history, seed, password, pace=1.0):
        super().__init__(name, cluster.front, None, history, seed, pace)
        self.cluster, self.password = cluster, password
        self.lives = 0
        self.gone = []  # ids of accounts that were deleted

    def cli(self, *words, stdin=''):
        """(status, output), on any node."""
        node = f'node{self.chance.randint(1, 3)}'
        done = subprocess.run(self.cluster.cli_words(*words, node=node), input=stdin.encode(), capture_output=True,
                              timeout=120, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors='replace')

    def until(self, words, good, stdin=''):
        """Tries until it is done, or was done already."""
        while True:
            status, said = self.cli(*words, stdin=stdin)
            if status == 0 or good in said:
                return said
            time.sleep(0.2)

    def session(self):
        self.lives += 1
        login = f'{self.name}-{self.lives % ADDRESSES}@example.org'
        self.account = Account(login, self.password, f'{login}#{self.lives}')
        self.until(('account', 'add', login, '--password-stdin'), 'is taken', self.password + '\n')
        self.account.id = json.loads(self.until(('account', 'show', login, '--json'), '"id"').splitlines()[0])['id']
        imap = self.use()
        try:
            self.delete()
            self.try_again(imap)
        finally:
            if imap:
                imap.shutdown()
        self.rest()

    def use(self):
        """Some mail; the connection stays open, if there is one."""
        for _ in range(self.chance.randint(1, 4)):
            token = self.token()
            while not self.attempt(token, make_message(token)):
                time.sleep(0.1)
        try:
            imap = imaplib.IMAP4(self.host, timeout=TIMEOUT)
            imap.login(self.account.login, self.password)
            for _ in range(self.chance.randint(1, 4)):
                self.append(imap)
            return imap
        except TROUBLE:
            return None

    def append(self, imap):
        token, began, result = self.token(), self.history.now(), 'unknown'
        try:
            kind, _ = imap.append('INBOX', None, None, make_message(token))
            result = 'ok' if kind == 'OK' else 'failed'
        finally:
            self.note(began, 'append', result, token=token, box='INBOX')

    def delete(self):
        began = self.history.now()
        self.until(('account', 'delete', '--yes', self.account.id), 'no such')
        self.note(began, 'delete', 'ok')
        self.gone.append(self.account.id)

    def try_again(self, imap):
        """Nothing of it is possible any more."""
        token = self.token()
        for _ in range(3):
            if self.attempt(token, make_message(token)):
                break
        try:
            if imap:
                self.append(imap)
        except TROUBLE:
            pass
        began, result = self.history.now(), 'failed'
        try:
            with imaplib.IMAP4(self.host, timeout=TIMEOUT) as again:
                again.login(self.account.login, self.password)
                result = 'ok'
        except TROUBLE:
            pass
        self.note(began, 'login', result)
