# SPDX-License-Identifier: MPL-2.0
"""Thunderbird in a window of its own on a virtual screen (Xvfb), driven through Marionette: what
thunderbird.js can do, as methods.

    with Thunderbird(folder) as bird:
        bird.setUp('127.0.0.1', port, login, password)
        bird.list('INBOX')
"""
import json
import os
import pathlib
import re
import socket
import subprocess
import time

from harness import Failed, check, end_process, free_ports, wait_for

PREFERENCES = {
    'app.donation.eoy.version.viewed': 999,
    'datareporting.policy.dataSubmissionEnabled': False,
    'mail.biff.alert.show_preview': False,
    'mail.biff.play_sound': False,
    'mail.biff.show_alert': False,
    'mail.chat.enabled': False,
    'mail.provider.suppress_dialog_on_startup': True,
    'mail.shell.checkDefaultClient': False,
    'mail.spotlight.firstRunDone': True,
    'mail.spam.version': 1,
    'mailnews.start_page.enabled': False,
    'network.dns.disablePrefetch': True,
    'services.settings.server': 'data:,',
    'toolkit.telemetry.server': 'data:,',
}


class Marionette:
    """The client's side of Mozilla's remote protocol: JSON with its length in front."""

    def __init__(self, port, process):
        def connect():
            try:
                return socket.create_connection(('127.0.0.1', port), 60)
            except OSError:
                check(process.poll() is None, 'Thunderbird runs')
                return None

        self.socket = wait_for(connect, 90, 'Thunderbird listens')
        self.socket.settimeout(70)
        self.stream = self.socket.makefile('rb')
        self.number = 0
        self.read()

    def read(self):
        length = b''
        while (byte := self.stream.read(1)) not in (b':', b''):
            length += byte
        return json.loads(self.stream.read(int(length or b'0')) or 'null')

    def command(self, name, parameters):
        self.number += 1
        packet = json.dumps([0, self.number, name, parameters]).encode()
        self.socket.sendall(b'%d:%s' % (len(packet), packet))
        _, number, error, result = self.read()
        check(number == self.number and not error, f'{name}: {error}')
        return result

    def close(self):
        self.stream.close()
        self.socket.close()


class Thunderbird:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / 'thunderbird'
        self.profile = self.folder / 'profile'
        self.profile.mkdir(parents=True)
        self.script = (pathlib.Path(__file__).parent / 'thunderbird.js').read_text()
        self.port, = free_ports(1)
        preferences = {**PREFERENCES, 'marionette.port': self.port}
        (self.profile / 'user.js').write_text(''.join(
            f'user_pref({json.dumps(name)}, {json.dumps(value)});\n'
            for name, value in preferences.items()))
        self.log = open(self.folder / 'log', 'ab')
        self.screen = self.process = self.marionette = None
        self.starts = 0

    def __enter__(self):
        try:
            self.start_screen()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        if self.screen:
            end_process(self.screen)
        self.log.close()

    def start_screen(self):
        """Xvfb takes a free number and says which."""
        read_end, write_end = os.pipe()
        self.screen = subprocess.Popen(
            ['Xvfb', '-displayfd', str(write_end), '-screen', '0', '1280x800x24', '-nolisten', 'tcp'],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, pass_fds=[write_end],
            start_new_session=True)
        os.close(write_end)
        with os.fdopen(read_end) as said:
            number = said.readline().strip()
        check(number, 'Xvfb starts')
        self.display = ':' + number

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith('MOZ_')}
        self.process = subprocess.Popen(
            ['thunderbird', '--profile', str(self.profile), '--no-remote', '--marionette',
             '--remote-allow-system-access'],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
            env={**environment, 'HOME': str(self.folder), 'DISPLAY': self.display, 'MOZ_LOG': 'sync,IMAP:3',
                 'MOZ_LOG_FILE': str(self.folder / f'imap-{self.starts}')})
        self.starts += 1
        self.marionette = Marionette(self.port, self.process)
        self.marionette.command('WebDriver:NewSession', {'capabilities': {'alwaysMatch': {
            'timeouts': {'script': 60000}}}})
        self.marionette.command('Marionette:SetContext', {'value': 'chrome'})

    def stop(self):
        """As by "Quit"; what it has not written then is its own matter."""
        if not self.process:
            return
        if self.marionette:
            try:
                self.marionette.command('Marionette:Quit', {'flags': ['eAttemptQuit']})
            except (OSError, ValueError, TypeError, Failed):
                pass
            self.marionette.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            end_process(self.process)
        self.process = self.marionette = None

    def commands(self, mailbox):
        """What it has sent with this mailbox selected, since it was started."""
        log = (self.folder / f'imap-{self.starts - 1}.moz_log').read_text(errors='replace')
        return re.findall(r':S-' + re.escape(mailbox) + r':SendData: (?:\d+ )?([^\r\n]*)', log)

    def settle(self, mailbox):
        """Waits until it has done what it does by itself and is in IDLE. Thunderbird makes nothing of
        an EXPUNGE that comes with the answer to another command."""
        before = []

        def idles():
            time.sleep(0.5)
            before.append(self.commands(mailbox))
            return len(before) > 2 and before[-1] == before[-3] and before[-1][-1:] == ['IDLE']

        wait_for(idles, 60, f'Thunderbird is in IDLE in {mailbox}')

    def __getattr__(self, name):
        def call(*arguments):
            result = self.marionette.command('WebDriver:ExecuteAsyncScript', {
                'script': self.script, 'args': [name, list(arguments)], 'sandbox': 'system'})['value']
            check('error' not in result, f'Thunderbird {name}{arguments}: {result.get("error")}')
            return result['value']

        return call

    def until(self, condition, what, seconds=60):
        """Polls until condition() is true; its value. A Failed inside it is one more "not yet"."""
        said = [None]

        def attempt():
            try:
                return condition()
            except Failed as failure:
                said[0] = failure
                return None

        try:
            return wait_for(attempt, seconds, what)
        except Failed as failure:
            raise Failed(f'{failure} ({said[0]})') from None
