# SPDX-License-Identifier: MPL-2.0
"""Two nodes for end-to-end tests: `eider serve` twice on one MongoDB and one Redis, and HAProxy in
front that deals connections out in turn.

    with Nodes() as both:           # also Eider('nodes'): a test of one server runs through two
        both.nodes[0].deliver(...)  # one node, straight
        both.imap(anna)             # whichever HAProxy picks

A script whose tests of one server are to run through two nodes too says NODES = True, or names
them: NODES = ['test_x']; see harness.cases.
"""
import pathlib
import queue
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from harness import Eider, Failed, Shared, check, end_process, free_ports, wait_for


class Redis:
    """One redis-server without a memory; a script starts it once (Redis.get)."""
    one = None

    def __init__(self):
        self.port, = free_ports(1)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ['redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '--save', '', '--appendonly',
             'no', '--dir', '/tmp'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_for(self.answers, 30, 'redis-server answers')

    def answers(self):
        try:
            with socket.create_connection(('127.0.0.1', self.port), 2) as s:
                s.sendall(b'PING\r\n')
                return s.recv(100).startswith(b'+PONG')
        except OSError:
            return False

    def stop(self):
        end_process(self.process)

    @classmethod
    def get(cls):
        if cls.one is None:
            cls.one = cls()
            Shared.others.append(cls.end)
        return cls.one

    @classmethod
    def end(cls):
        if cls.one is not None:
            cls.one.stop()
            cls.one = None


def reply_length(data, at=0):
    """Length of the first RESP2 value in data[at:], 0: it is not whole yet."""
    end = data.find(b'\r\n', at)
    if end < 0:
        return 0
    kind, head = data[at:at + 1], data[at + 1:end]
    here = end + 2
    if kind == b'$' and int(head) >= 0:
        here += int(head) + 2
        return here - at if len(data) >= here else 0
    if kind == b'*':
        for _ in range(int(head)):
            n = reply_length(data, here)
            if n == 0:
                return 0
            here += n
    return here - at


class HintProxy:
    """Between nodes and Redis. What subscribers are sent (messages on the channel, nothing else)
    is treated as `mode` says: 'pass', 'lose', 'double', 'delay' (by 0.3 s), 'reorder' (held in a
    heap, let go one by one in random order), 'wild' (each one of these by chance)."""

    def __init__(self, redis, seed=1):
        self.redis, self.mode, self.chance = redis, 'pass', random.Random(seed)
        self.counts = {'pass': 0, 'lose': 0, 'double': 0, 'delay': 0, 'reorder': 0}
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.closing = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(('127.0.0.1', self.redis.port))
            except OSError:
                continue
            threading.Thread(target=self.copy, args=(client, server), daemon=True).start()
            threading.Thread(target=self.filter, args=(server, client), daemon=True).start()

    @staticmethod
    def copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for s in (one, other):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def filter(self, server, client):
        """Sends on from a queue, so that what is held back holds up nothing else."""
        out = queue.PriorityQueue()
        threading.Thread(target=self.send, args=(out, client), daemon=True).start()
        data, number = b'', 0
        try:
            while more := server.recv(65536):
                data += more
                while n := reply_length(data):
                    number += 1
                    self.treat(data[:n], number, out)
                    data = data[n:]
        except OSError:
            pass
        out.put((0, 0, None))

    def treat(self, reply, number, out):
        mode = self.mode
        if b'\r\nmessage\r\n' not in reply[:20]:
            mode = 'pass'
        elif mode == 'wild':
            mode = self.chance.choice(list(self.counts))
        self.counts[mode] += 1
        now = time.monotonic()
        if mode in ('pass', 'double'):
            out.put((now, number, reply))
        if mode == 'double':
            out.put((now + self.chance.random() * 0.2, number, reply))
        if mode == 'delay':
            out.put((now + 0.3, number, reply))
        if mode == 'reorder':
            out.put((now + self.chance.random() * 0.3, number, reply))

    @staticmethod
    def send(out, client):
        while True:
            due, number, reply = out.get()
            if reply is None:
                break
            wait = due - time.monotonic()
            if wait > 0:  # something may come that is due before
                out.put((due, number, reply))
                time.sleep(min(wait, 0.002))
                continue
            try:
                client.sendall(reply)
            except OSError:
                break
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self.closing = True
        self.listener.close()


# Behind the proxy: name of the port, protocol, tls.
SERVICES = (('imap', 'imap', 'starttls'), ('imaps', 'imap', 'implicit'), ('lmtp', 'lmtp', 'starttls'),
            ('pop3', 'pop3', 'starttls'), ('pop3s', 'pop3', 'implicit'),
            ('submit', 'submission', 'starttls'), ('submits', 'submission', 'implicit'))


class Node(Eider):
    """One of several; has listeners for a proxy besides: proxied_imap_port, ..."""

    def make_config(self, settings, plaintext):
        # its own are not listened on yet: they may come again
        mine = {getattr(self, f'{name}_port') for name, _, _ in SERVICES}
        while mine & set(ports := free_ports(len(SERVICES))):
            pass
        for (name, _, _), port in zip(SERVICES, ports):
            setattr(self, f'proxied_{name}_port', port)
        text = super().make_config(settings, plaintext)
        more = ''.join(
            f'{{ protocol = "{protocol}"; address = "127.0.0.1"; port = {port}; tls = "{tls}"; proxy = true;'
            ' max_per_address = 0; },\n    '
            for (_, protocol, tls), port in zip(SERVICES, ports))
        return (text.replace('listeners = (\n    ', 'listeners = (\n    ' + more)
                + 'proxy = { networks = [ "127.0.0.0/8" ]; };\n')


class Haproxy:
    """Deals connections out in turn, each to the next server."""

    def __init__(self, services):
        """services: lists of ports of servers; self.ports: where each is served."""
        self.folder = tempfile.mkdtemp(prefix='eider-haproxy-')
        self.ports = free_ports(len(services))
        text = ('defaults\n  mode tcp\n  balance roundrobin\n  timeout connect 5s\n  timeout client 35m\n'
                '  timeout server 35m\n  retries 3\n  option redispatch 1\n')
        for i, (port, servers) in enumerate(zip(self.ports, services)):
            text += f'listen service{i}\n  bind 127.0.0.1:{port}\n' + ''.join(
                f'  server node{n} 127.0.0.1:{p} send-proxy-v2\n' for n, p in enumerate(servers))
        config = pathlib.Path(self.folder) / 'haproxy.cfg'
        config.write_text(text)
        self.log = open(self.folder + '/log', 'wb')
        self.process = subprocess.Popen(['haproxy', '-db', '-f', str(config)], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        wait_for(self.answers, 20, 'haproxy listens')

    def answers(self):
        try:
            for port in self.ports:
                socket.create_connection(('127.0.0.1', port), 2).close()
            return True
        except OSError:
            return False

    def stop(self):
        end_process(self.process, 1)  # it would wait for open connections
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Nodes(Eider):
    """Like an Eider to tests: ports are HAProxy's. `nodes`: the Eiders behind; `bus`: the URI of
    another bus than the script's Redis (a HintProxy's)."""

    def __init__(self, store='nodes', settings='', plaintext=True, bus=None, n=2):
        bus = bus or f'redis://127.0.0.1:{Redis.get().port}?prefix=e{random.getrandbits(48):x}'
        settings = f'bus = "{bus}";\n{settings}'
        self.nodes, self.haproxy = [], None
        try:
            for _ in range(n):
                self.nodes.append(Node('mongodb', settings, plaintext,
                                       uri=self.nodes[0].uri if self.nodes else None))
            for node in self.nodes:
                wait_for(lambda log=node: b'hints=flow' in log.log(), 30, 'hints flow')
            self.haproxy = Haproxy([[getattr(node, f'proxied_{name}_port') for node in self.nodes]
                                    for name, _, _ in SERVICES])
        except BaseException:
            self.close()
            raise
        for (name, _, _), port in zip(SERVICES, self.haproxy.ports):
            setattr(self, f'{name}_port', port)
        first = self.nodes[0]
        self.folder, self.config, self.uri = first.folder, first.config, first.uri
        self.lmtp_path = first.lmtp_path

    @property
    def process(self):
        return self.nodes[0].process

    def log(self):
        return b''.join(node.log() for node in self.nodes)

    def start(self):
        for node in self.nodes:
            node.start()

    def stop(self):
        for node in self.nodes:
            node.stop()

    def kill(self):
        for node in self.nodes:
            node.kill()

    def reload(self):
        for node in self.nodes:
            node.reload()

    def close(self):
        if self.haproxy is not None:
            self.haproxy.stop()
            self.haproxy = None
        failures = []
        for node in self.nodes:
            try:
                node.close()
            except Failed as failure:
                failures.append(str(failure))
        check(not failures, '; '.join(failures))
