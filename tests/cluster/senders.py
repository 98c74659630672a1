# SPDX-License-Identifier: MPL-2.0
"""Mail that users send: a client of submission, the server somewhere else that takes what leaves (Sink), and
what the nodes' logs say about the queue (I29)."""
import calendar
import collections
import re
import smtplib
import socketserver
import threading
import time

from clients import TIMEOUT, TROUBLE, Client, make_message

PORT = 2525
AWAY = 'far.example'  # no domain of ours: the route leads to the sink


class Sender(Client):
    """To people here it tries again until it is heard, as that is one message (I24); to others it does not."""

    def __init__(self, *arguments, here, **more):
        super().__init__(*arguments, **more)
        self.here = here

    def session(self):
        token = self.token()
        if self.chance.random() < 0.5:
            to = self.chance.choice(self.here)
            while not self.attempt(token, [to.login], 'deliver', account=to, box='INBOX'):
                time.sleep(0.05 + self.chance.random() * 0.2)
        else:
            names = self.chance.sample(('one', 'two', 'slow'), self.chance.choice((1, 1, 2, 3)))
            to = [f'{name}@{AWAY}' for name in names]
            self.attempt(token, to, 'send', to=to)
        self.rest()

    def attempt(self, token, addresses, op, **what):
        """True: it is taken, or refused for good."""
        began, result = self.history.now(), 'unknown'
        try:
            with smtplib.SMTP(self.host, 587, local_hostname='client', timeout=TIMEOUT) as smtp:
                smtp.login(self.account.login, self.account.password)
                code, said = self.send(smtp, token, addresses)
                # what was refused for now is not queued (I23) unless it says so; mail to people here may have reached some
                definite = code >= 500 or (op == 'send' and b'not known' not in said)
                result = 'ok' if code == 250 else 'failed' if definite else 'unknown'
        except TROUBLE:
            pass
        self.note(began, op, result, token=token, **what)
        return result != 'unknown'

    def send(self, smtp, token, to):
        for code, said in (smtp.mail(self.account.login), *(smtp.rcpt(address) for address in to)):
            if code != 250:
                return code, said
        return smtp.data(make_message(token))


class Sink:
    """Takes everything; now and then it is slow, or the connection breaks before its answer is heard. The
    recipient `slow` is put off twice."""

    def __init__(self, address, history, chance):
        self.history, self.chance, self.put_off = history, chance, collections.Counter()
        sink = self

        class Talk(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(self):
                try:
                    sink.talk(self.rfile, self.wfile)
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 200

        self.server = Server((address, PORT), Talk)
        threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True).start()

    def talk(self, lines, out):
        def say(text):
            out.write(text.encode() + b'\r\n')

        say('220 sink')
        to = []
        while line := lines.readline():
            verb = line[:4].upper()
            if verb == b'MAIL':
                to = []
                say('250 2.1.0 go on')
            elif verb == b'RCPT':
                to.append(re.search(rb'<([^>]*)>', line)[1].decode())
                say('250 2.1.5 go on')
            elif verb == b'DATA':
                say('354 go on')
                if not self.take(lines, to, say):
                    return
            elif verb == b'QUIT':
                say('221 2.0.0 bye')
                return
            else:
                say('250 2.0.0 yes')

    def take(self, lines, to, say):
        """False: the connection breaks."""
        token, first = None, self.history.now()
        while (line := lines.readline()) != b'.\r\n':
            if not line:
                return False
            if not token and (found := re.match(rb'(?i)X-Token: (\S+)', line)):
                token = found[1].decode()
        if self.chance.random() < 0.05:
            time.sleep(self.chance.random())
        if any(name.startswith('slow') for name in to) and len(to) == 1:
            self.put_off[token] += 1
            if self.put_off[token] <= 2:
                say('451 4.2.1 later')
                return True
        dropped = self.chance.random() < 0.02
        self.history.add(first, who='sink', op='arrive', result='ok', token=token, to=to, told=not dropped)
        if not dropped:
            say('250 2.0.0 taken')
        return not dropped

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# ---- what the logs say ----

SENT = re.compile(r'^(\S+) info send queue=(\w+) entry=(\d+) .*?\bto=(\S+) result=(\w+) .*?\bms=(\d+)')
RECORDED = re.compile(r'^(\S+) info recorded queue=(\w+) entry=(\d+) done=(\d)')


def log_time(text):
    return calendar.timegm(time.strptime(text[:19], '%Y-%m-%dT%H:%M:%S')) + float(text[19:23])


def read_log(path):
    """([(when an attempt began, when it ended, (queue, entry, to), result)], {(queue, entry, to): when its end was
    recorded}) of one node."""
    attempts, recorded, waiting = [], {}, collections.defaultdict(set)
    with open(path, encoding='utf-8', errors='replace') as log:
        for line in log:
            if found := SENT.match(line):
                stamp, queue, entry, to, result, ms = found.groups()
                ended = log_time(stamp)
                attempts.append((ended - int(ms) / 1000, ended, (queue, entry, to), result))
                if result != 'deferred':
                    waiting[queue, entry].add(to)
            elif found := RECORDED.match(line):
                stamp, queue, entry, _ = found.groups()
                for to in waiting.pop((queue, entry), ()):
                    recorded.setdefault((queue, entry, to), log_time(stamp))
    return attempts, recorded


def check_logs(paths):
    """A recipient whose end is recorded is not tried again, by whomever. ([violations], attempts)"""
    attempts, recorded = [], {}
    for path in paths:
        found, ends = read_log(path)
        attempts += found
        for key, when in ends.items():
            recorded[key] = min(when, recorded.get(key, when))
    wrong = [f'I29: {key} was tried at {began:.3f}, and its end was recorded at {recorded[key]:.3f}'
             for began, _, key, _ in attempts if key in recorded and began > recorded[key] + 1]
    return wrong, len(attempts)
