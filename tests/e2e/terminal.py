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
        self.screen = b''
        self.pid, self.tty = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM='vt100', HOME=str(home), LC_ALL='C.UTF-8')
            os.execvp(words[0], words)
        fcntl.ioctl(self.tty, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 100, 0, 0))

    def read(self, seconds):
        """More of what it writes; False at its end."""
        if select.select([self.tty], [], [], seconds)[0]:
            try:
                self.screen += ESCAPES.sub(b'', os.read(self.tty, 65536))
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
        while written != len(self.screen):
            written = len(self.screen)
            self.read(0.5)

    def press(self, keys, text):
        """Presses keys and waits until something shows that was not there before."""
        self.rest()
        self.screen = b''
        os.write(self.tty, keys)
        self.expect(text)

    def quit(self, keys=b'q'):
        os.write(self.tty, keys)
        end = time.monotonic() + 60
        while self.read(0.2) and time.monotonic() < end:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.tty)
        check(status == 0, f'it ends well: {status} {self.screen[-2000:]}')
