#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What a node tells load balancers and Prometheus over HTTP."""
import http.client
import imaplib
import re
import signal
import socket
import subprocess
import time

from harness import Eider, Shared, check, free_ports, main, wait_for

# A sample line of Prometheus' text format 0.0.4.
SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\d+(?:\.\d+)?)$')


class Watched(Eider):
    """With a listener for HTTP: http_port."""

    def make_config(self, settings, plaintext):
        self.http_port, = free_ports(1)
        text = super().make_config(settings, plaintext)
        return text.replace('listeners = (', 'listeners = (\n    { protocol = "http"; '
                            f'address = "127.0.0.1"; port = {self.http_port}; }},', 1)

    def get(self, path):
        """(status, body)"""
        connection = http.client.HTTPConnection('127.0.0.1', self.http_port, timeout=60)
        connection.request('GET', path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def metrics(self):
        """Samples by name with labels; Failed where a line is none."""
        status, body = self.get('/metrics')
        check(status == 200, f'/metrics: {status}')
        samples, types = {}, {}
        for line in body.splitlines():
            if line.startswith('# TYPE '):
                _, _, name, kind = line.split(' ')
                check(name not in types, f'{name} is one family')
                types[name] = kind
            elif not line.startswith('# HELP '):
                found = SAMPLE.match(line)
                check(found, f'a sample: {line}')
                family = re.sub('_(bucket|sum|count)$', '', found[1])
                check(found[1] in types or types.get(family) == 'histogram', f'{line} has its type')
                samples[found[1] + (found[2] or '')] = float(found[3])
        return samples


def test_what_is_done_is_counted(store):
    with Watched(store) as eider:
        anna = eider.account('anna@example.org')
        before = eider.metrics()
        eider.deliver(anna.login, b'Subject: x\r\n\r\nhello\r\n')
        with eider.imap(anna) as imap:
            imap.select()
            imap.fetch('1', '(FLAGS)')
            imap.store('1', '+FLAGS', '(\\Flagged)')
        after = eider.metrics()
        check(after['eider_commits_total'] - before['eider_commits_total'] == 2, 'a delivery and a STORE')
        check(after['eider_command_seconds_count{protocol="imap",command="FETCH"}'] == 1, 'one FETCH')
        check(after['eider_store_seconds_count{verb="insert"}'] > before['eider_store_seconds_count{verb="insert"}'],
              'inserts')
        check(after['eider_connections_accepted_total'] > before['eider_connections_accepted_total'], 'connections')
        check(after['process_resident_memory_bytes'] > 1000000, 'memory')


def test_logins_are_counted_by_what_became_of_them():
    with Watched() as eider:
        anna, ben = eider.account('anna@example.org'), eider.account('ben@example.org')
        eider.cli('account', 'set', '--disable', ben.login)
        for login, password in ((anna.login, 'wrong'), (ben.login, ben.password), ('nobody@example.org', 'x')):
            with eider.imap() as imap:
                try:
                    imap.login(login, password)
                    check(False, f'{login} is refused')
                except imaplib.IMAP4.error:
                    pass
        with eider.imap(anna):
            pass
        counts = {k: v for k, v in eider.metrics().items() if k.startswith('eider_logins_total{protocol="imap"')}
        check({k.split('"')[3]: v for k, v in counts.items() if v} ==
              {'ok': 1, 'wrong': 1, 'disabled': 1, 'unknown': 1}, counts)
        lines = [line for line in eider.log().decode().splitlines() if ' login_refused ' in line]
        check([line.rsplit(' ', 1)[1] for line in lines] == ['reason=wrong', 'reason=disabled', 'reason=unknown'], lines)
        check('account=anna@example.org' in lines[0] and 'nobody' not in lines[2], lines)


def test_a_node_is_ready_while_its_store_answers():
    with Watched('mongodb', uri=Shared.get_mongod().uri('monitor') + '&socketTimeoutMS=2000') as eider:
        check(eider.get('/healthz') == (200, 'alive\n'), 'alive')
        check(eider.get('/readyz') == (200, 'ready\n'), 'ready')
        mongod = Shared.get_mongod().process
        mongod.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: eider.get('/readyz') == (503, 'the store does not answer\n'), 60, 'not ready')
            check(eider.get('/readyz?status=404')[0] == 404, 'in the word that HAProxy has for it')
            check(eider.get('/healthz')[0] == 200, 'but alive')
            began = time.monotonic()
            for _ in range(5):
                eider.get('/readyz')
                time.sleep(0.5)
            check(time.monotonic() - began < 15, 'and who asks is not held up by the store')
        finally:
            mongod.send_signal(signal.SIGCONT)
        wait_for(lambda: eider.get('/readyz')[0] == 200, 60, 'ready again')


def test_a_node_that_drains_says_so():
    with Watched() as eider:
        anna = eider.account('anna@example.org')
        imap = eider.imap(anna)
        imap.send(b'a APPEND INBOX {1000000}\r\n')  # a command in progress is waited for
        check(imap.readline().startswith(b'+'), 'a literal is awaited')
        eider.process.send_signal(signal.SIGTERM)
        wait_for(lambda: eider.get('/readyz') == (503, 'draining\n'), 30, 'draining')
        check(eider.get('/healthz')[0] == 200, 'alive to the end')
        imap.shutdown()
        check(eider.process.wait(20) == 0, 'exit status 0')
        eider.process = None


def test_curl_and_nothing_but_http():
    with Watched() as eider:
        url = f'http://127.0.0.1:{eider.http_port}'
        done = subprocess.run(['curl', '-sS', '-f', url + '/healthz', url + '/readyz'], capture_output=True, check=True)
        check(done.stdout == b'alive\nready\n', 'two requests on one connection')
        check(subprocess.run(['curl', '-s', '-f', url + '/'], check=False).returncode == 22, '404')
        with socket.create_connection(('127.0.0.1', eider.http_port), 30) as s:
            s.sendall(b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n')
            check(s.recv(100).startswith(b'HTTP/1.1 400 '), 'two lengths')


if __name__ == '__main__':
    main(globals())
