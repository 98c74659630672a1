# SPDX-License-Identifier: MPL-2.0
"""A program at a terminal of 100 x 30: keys are pressed, the screen is read."""
import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

from harness import Failed, check

ESCAPES = re.compile(rb'\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|[\x0f\0]')  # what moves, and padding


class Terminal:
    def __init__(self, words, home):
        self.name = words[0]
        self.written = b''
        self.pid, self.tty = pty.fork()
        if self.pid == 0:  # the size is there before the program looks for it
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 100, 0, 0))
            os.environ.update(TERM='vt100', HOME=str(home), LC_ALL='C.UTF-8')
            os.execvp(words[0], words)

    @property
    def screen(self):
        """What it wrote since the last key; of the whole, since a read may end within an escape."""
        return ESCAPES.sub(b'', self.written)

    def forget(self):
        self.written = b''

    def read(self, seconds):
        """More of what it writes; False at its end."""
        if select.select([self.tty], [], [], seconds)[0]:
            try:
                self.written += os.read(self.tty, 65536)
            except OSError:
                return False
        return True

    def expect(self, text, seconds=60):
        end = time.monotonic() + seconds
        while text not in self.screen:
            alive = self.read(0.2)
            if text not in self.screen and (not alive or time.monotonic() > end):
                raise Failed(f'{self.name} shows {text}: {self.screen[-3000:]}')

    def rest(self):
        """Until it writes nothing more: what is typed earlier, some programs throw away."""
        written = -1
        while written != len(self.written):
            written = len(self.written)
            self.read(0.5)

    def press(self, keys, text):
        """Presses keys and waits until something shows that was not there before. Where nothing at
        all shows for a long while they were thrown away, and are pressed once more."""
        self.rest()
        self.forget()
        os.write(self.tty, keys)
        if text and not self.answers(20):
            os.write(self.tty, keys)
        self.expect(text)

    def answers(self, seconds):
        """True as soon as it has written something, or has ended."""
        end = time.monotonic() + seconds
        while not self.written and time.monotonic() < end:
            if not self.read(0.5):
                return True
        return bool(self.written)

    def quit(self, keys=b'q'):
        os.write(self.tty, keys)
        end = time.monotonic() + 60
        while self.read(0.2) and time.monotonic() < end:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.tty)
        check(status == 0, f'{self.name} ends well: {status} {self.screen[-2000:]}')
