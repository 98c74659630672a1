# SPDX-License-Identifier: MPL-2.0
"""How long a client waits: one session each of IMAP, LMTP and POP3 that works without a pause, and
notes each answer and when it came.

    watch = Watch(cluster, account)
    watch.begin(); ...a fault...; watch.end()
    watch.report()
"""
import imaplib
import poplib
import smtplib
import threading
import time


class Worker(threading.Thread):
    """Repeats one command on one connection; a connection that breaks is made anew."""

    def __init__(self, name, connect, command, gap=0.03):
        super().__init__(daemon=True)
        self.title, self.connect, self.command, self.gap = name, connect, command, gap
        self.stopping = threading.Event()
        self.good = 0          # commands done
        self.refused = []      # (ms it took, what was said): temporary refusals
        self.broken = []       # connections that were lost
        self.longest = 0.0     # seconds from one success to the next
        self.since = None      # when the last success was
        self.first = 0

    def run(self):
        client = None
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                client = client or self.connect()
                said = self.command(client)
                if said is None:
                    self.good += 1
                    now = time.monotonic()
                    if self.since:
                        self.longest = max(self.longest, now - self.since)
                    self.since = now
                else:
                    self.refused.append((time.monotonic() - began, said))
                time.sleep(self.gap)
            except (OSError, EOFError, imaplib.IMAP4.error, smtplib.SMTPException, poplib.error_proto) as failure:
                self.broken.append((time.monotonic() - began, repr(failure)))
                client = None
                time.sleep(0.1)


def imap_workers(host, account, context):
    def connect():
        client = imaplib.IMAP4_SSL(host, ssl_context=context, timeout=60)
        client.login(account.login, account.password)
        client.select()
        return client

    def read(client):
        kind, said = client.uid('FETCH', '1', '(FLAGS ENVELOPE)')
        return None if kind == 'OK' else said[0]

    def write(client):
        write.n += 1
        kind, said = client.uid('STORE', '1', '+FLAGS' if write.n % 2 else '-FLAGS', r'(\Flagged)')
        return None if kind == 'OK' else said[0]

    def append(client):
        append.n += 1
        kind, said = client.append('INBOX', None, None, b'Subject: append %d\r\n\r\nx\r\n' % append.n)
        return None if kind == 'OK' else said[0]

    write.n = append.n = 0
    return [Worker('IMAP FETCH', connect, read), Worker('IMAP STORE', connect, write),
            Worker('IMAP APPEND', connect, append)]


def lmtp_worker(host, account):
    def connect():
        client = smtplib.LMTP(host, 24, local_hostname='client', timeout=60)
        client.ehlo_or_helo_if_needed()
        return client

    def deliver(client):
        deliver.n += 1
        code, said = client.mail('load@example.net')
        if code == 250:
            code, said = client.rcpt(account.login)
        if code == 250:
            code, said = client.data(b'Subject: number %d\r\n\r\nhello\r\n' % deliver.n)
        if code == 250:
            return None
        if code == 421:  # a clean good-bye
            raise smtplib.SMTPServerDisconnected(said.decode())
        client.rset()
        return f'{code} {said.decode()}'

    deliver.n = 0
    return Worker('LMTP', connect, deliver)


def pop3_worker(host, account, context):
    """A whole session each time: log in, list, quit."""
    def connect():
        return True

    def session(_):
        client = poplib.POP3_SSL(host, context=context, timeout=60)
        try:
            client.user(account.login)
            client.pass_(account.password)
            client.stat()
            client.quit()
            return None
        except poplib.error_proto as refusal:
            return str(refusal)
        finally:
            client.close()

    return Worker('POP3', connect, session, 0.1)


class Watch:
    def __init__(self, cluster, account, context):
        self.workers = [*imap_workers(cluster.front, account, context), lmtp_worker(cluster.front, account),
                        pop3_worker(cluster.front, account, context)]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.stopping.set()
        for worker in self.workers:
            worker.join(70)

    def await_success(self, seconds):
        """Until each has done something more."""
        before = {w: w.good for w in self.workers}
        end = time.monotonic() + seconds
        while any(w.good == before[w] for w in self.workers) and time.monotonic() < end:
            time.sleep(0.05)
        return [w.title for w in self.workers if w.good == before[w]]

    def reset(self):
        for w in self.workers:
            w.good, w.refused, w.broken, w.longest = 0, [], [], 0.0

    def report(self):
        for w in self.workers:
            said = sorted({text if isinstance(text, str) else text.decode() for _, text in w.refused})
            print(f'     {w.title:12} {w.good:5} done, longest wait {w.longest:5.1f} s, {len(w.refused)} refused '
                  f'(at most {max((s for s, _ in w.refused), default=0):.1f} s; {said[:2]}), '
                  f'{len(w.broken)} connections lost {[b for _, b in w.broken][:1]}', flush=True)
