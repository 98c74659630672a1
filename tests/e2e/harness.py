# SPDX-License-Identifier: MPL-2.0
"""A real Eider for end-to-end tests: in a temporary folder, on free loopback ports, ended by pid.

    from harness import Eider, main, check

    def test_mail_arrives(store):
        with Eider(store) as eider:
            anna = eider.account('anna@example.org')
            eider.deliver(anna.login, b'Subject: x\\r\\n\\r\\nhello\\r\\n')
            with eider.imap(anna) as imap:
                check(imap.select()[1] == [b'1'], 'one message in INBOX')

    if __name__ == '__main__':
        main(globals())     # runs test_* on each store, ends with "N passed, N failed"

A test function with a parameter `store` runs once for 'sqlite' and once for 'mongodb'; one without
runs once. Where the script has NODES = True, or a list of names of tests, these run once more with
'nodes': two nodes behind HAProxy (nodes.py). MongoDB is one mongod for the whole script (found by tools/mongod), a database for each
Eider. Environment: EIDER_BIN, the folder with the programs (default build/plain/daemons);
EIDER_STORES, which stores ("sqlite,mongodb,nodes"). Arguments of a script: names of tests to run.
"""
import imaplib
import inspect
import os
import pathlib
import random
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / 'tools'))
import mongo_wire

BIN = pathlib.Path(os.environ.get('EIDER_BIN', ROOT / 'build' / 'plain' / 'daemons'))
PASSWORD = 'Correct-Horse-7'


class Failed(Exception):
    """A check that did not hold."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def free_ports(n):
    """Ports of loopback that nobody uses now; below those that the kernel gives to connections that
    go out, so that none of these takes one before its server does."""
    ports = []
    while len(ports) < n:
        port = random.randrange(10240, 32768)
        try:
            socket.create_server(('127.0.0.1', port)).close()
        except OSError:
            continue
        if port not in ports:
            ports.append(port)
    return ports


def wait_for(condition, seconds, what):
    """Polls until condition() is true; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f'{what}: not within {seconds} s')
        time.sleep(0.02)
    return value


def end_process(process, seconds=15):
    """SIGTERM, then SIGKILL. True: it ended by itself with status 0."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


# ---- MongoDB ----

class Mongod:
    """A single-member replica set in a folder of its own."""

    def __init__(self):
        found = subprocess.run([str(ROOT / 'tools' / 'mongod')], stdout=subprocess.PIPE, check=True)
        self.folder = tempfile.mkdtemp(prefix='eider-mongod-')
        self.port, = free_ports(1)
        self.log = open(self.folder + '/log', 'wb')
        self.process = subprocess.Popen(
            [found.stdout.decode().split('\n')[-2], '--dbpath', self.folder, '--port',
             str(self.port), '--bind_ip', '127.0.0.1', '--replSet', 'rs', '--nounixsocket',
             '--wiredTigerCacheSizeGB', '0.5'], stdout=self.log, stderr=subprocess.STDOUT,
            start_new_session=True)
        member = {'_id': 0, 'host': f'127.0.0.1:{self.port}'}
        initiate = {'replSetInitiate': {'_id': 'rs', 'members': [member]}, '$db': 'admin'}
        wait_for(lambda: self.command(initiate), 60, 'mongod answers')
        wait_for(lambda: (self.command({'hello': 1, '$db': 'admin'}) or {}).get('isWritablePrimary'),
                 60, 'mongod is primary')

    def command(self, document):
        """The reply, or None while nobody answers."""
        return mongo_wire.command(('127.0.0.1', self.port), document)

    def uri(self, database):
        return f'mongodb://127.0.0.1:{self.port}/{database}?replicaSet=rs'

    def stop(self):
        end_process(self.process, 30)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Shared:
    """What a script starts once."""
    mongod = None
    others = []  # functions to be called at the end

    @classmethod
    def get_mongod(cls):
        if cls.mongod is None:
            cls.mongod = Mongod()
        return cls.mongod

    @classmethod
    def end(cls):
        while cls.others:
            cls.others.pop()()
        if cls.mongod is not None:
            cls.mongod.stop()
            cls.mongod = None


# ---- Eider ----

class Account:
    def __init__(self, login, password):
        self.login, self.password = login, password


class Eider:
    """One `eider serve`. Attributes: imap_port (STARTTLS), imaps_port, pop3_port
    (STLS), pop3s_port, submit_port (STARTTLS), submits_port, lmtp_port, lmtp_path (UNIX
    socket), folder, config (the file), log_path. `settings` is text put behind the configuration;
    plaintext logins without TLS are allowed unless plaintext=False. `uri` shares a store with
    another Eider: Eider('mongodb', uri=first.uri), or for SQLite with folder=first.folder. `auth` is
    text put into the group of that name."""

    def __new__(cls, store='sqlite', *_, **__):
        if cls is Eider and store == 'nodes':
            from nodes import Nodes  # it builds on this module
            cls = Nodes
        return super().__new__(cls)

    def __init__(self, store='sqlite', settings='', plaintext=True, uri=None, folder=None,
                 start=True, auth=''):
        self.own_folder = folder is None
        self.auth = auth
        self.folder = folder or tempfile.mkdtemp(prefix='eider-e2e-')
        self.imap_port, self.imaps_port, self.lmtp_port, self.pop3_port, self.pop3s_port, self.submit_port, self.submits_port = free_ports(7)
        name = f'{random.getrandbits(48):x}'
        self.lmtp_path = f'{self.folder}/lmtp-{name}'
        if uri is None:
            uri = (Shared.get_mongod().uri(f'e{name}') if store == 'mongodb'
                   else f'sqlite:{self.folder}/eider.db')
        self.uri = uri
        self.config = f'{self.folder}/eider-{name}.conf'
        self.log_path = f'{self.folder}/log-{name}'
        self.process = None
        pathlib.Path(self.config).write_text(self.make_config(settings, plaintext))
        if start:
            self.start()

    def make_config(self, settings, plaintext):
        return f'''
data = "{self.folder}";
store = "{self.uri}";
hostname = "eider.example.org";
listeners = (
    {{ protocol = "imap"; address = "127.0.0.1"; port = {self.imap_port}; tls = "starttls";
       max_per_address = 0; }},
    {{ protocol = "imap"; address = "127.0.0.1"; port = {self.imaps_port}; tls = "implicit";
       max_per_address = 0; }},
    {{ protocol = "pop3"; address = "127.0.0.1"; port = {self.pop3_port}; tls = "starttls";
       max_per_address = 0; }},
    {{ protocol = "pop3"; address = "127.0.0.1"; port = {self.pop3s_port}; tls = "implicit";
       max_per_address = 0; }},
    {{ protocol = "submission"; address = "127.0.0.1"; port = {self.submit_port}; tls = "starttls";
       max_per_address = 0; }},
    {{ protocol = "submission"; address = "127.0.0.1"; port = {self.submits_port}; tls = "implicit";
       max_per_address = 0; }},
    {{ protocol = "lmtp"; address = "127.0.0.1"; port = {self.lmtp_port}; tls = "starttls";
       max_per_address = 0; }},
    {{ protocol = "lmtp"; path = "{self.lmtp_path}"; }} );
auth = {{ plaintext_without_tls = {"true" if plaintext else "false"};
    argon2_memory = "1M"; argon2_passes = 1; scram_iterations = 4096; scram_sha1_iterations = 4096;
    {self.auth} }};
{settings}
'''

    def start(self):
        """Returns when it is ready; Failed with what it said if it does not come up."""
        where = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen([str(BIN / 'eider'), 'serve', '-c', self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        wait_for(lambda: b' ready ' in self.log()[where:] or self.process.poll() is not None, 60,
                 'eider serve is ready')
        check(self.process.poll() is None, 'eider serve: ' + self.log()[where:].decode())

    def log(self):
        return pathlib.Path(self.log_path).read_bytes()

    def stop(self):
        """A clean end. Failed if it was none."""
        if self.process is not None:
            ended = end_process(self.process, 45)
            self.process = None
            check(ended, 'eider serve ends cleanly: ' + self.log()[-2000:].decode())

    def kill(self):
        """As a power cut does to a process."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        try:
            self.stop()
        finally:
            if self.own_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
            return
        print('---- end of the log of', self.config)
        print(self.log()[-30000:].decode(errors='replace'))
        try:
            self.close()
        except Failed as failure:
            print(failure)

    def cli(self, *arguments, stdin='', status=0):
        """Runs `eider ARGUMENTS -c CONFIG`; its output. status None: (status, stdout, stderr)."""
        words = [str(BIN / 'eider'), *arguments, '-c', self.config]
        done = subprocess.run(words, input=stdin.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120, check=False)
        out, error = done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')
        if status is None:
            return done.returncode, out, error
        check(done.returncode == status, f'{" ".join(words)}: status {done.returncode}: {error}')
        return out

    def account(self, login, password=PASSWORD):
        """Makes the account, and its domain where that is new."""
        self.cli('domain', 'add', login.split('@')[1], status=None)
        self.cli('account', 'add', login, '--password-stdin', stdin=password + '\n')
        return Account(login, password)

    # ---- clients ----

    def imap(self, account=None, tls=True):
        """An imaplib client, logged in if there is an account."""
        if tls:
            client = imaplib.IMAP4_SSL('127.0.0.1', self.imaps_port,
                                       ssl_context=client_context(), timeout=60)
        else:
            client = imaplib.IMAP4('127.0.0.1', self.imap_port, timeout=60)
        if account:
            client.login(account.login, account.password)
        return client

    def lmtp(self):
        return smtplib.LMTP('127.0.0.1', self.lmtp_port, local_hostname='client.example.org',
                            timeout=60)

    def deliver(self, to, message, sender='sender@example.net'):
        """By LMTP; Failed unless every recipient is answered 250."""
        with self.lmtp() as lmtp:
            refused = lmtp.sendmail(sender, to, message)
            for _ in [] if isinstance(to, str) else to[1:]:  # smtplib reads one reply only
                if (reply := lmtp.getreply())[0] != 250:
                    refused[reply] = reply
        check(not refused, f'delivered to all: {refused}')


def client_context():
    """TLS that trusts the certificate made for the test."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# ---- running ----

def cases(names):
    stores = os.environ.get('EIDER_STORES', 'sqlite,mongodb,nodes').split(',')
    through_nodes = names.get('NODES', ())
    for name, function in list(names.items()):
        if name.startswith('test_') and callable(function):
            if 'store' in inspect.signature(function).parameters:
                for store in stores:
                    if store == 'nodes' and through_nodes is not True and name not in through_nodes:
                        continue
                    yield f'{name}[{store}]', (lambda f=function, s=store: f(s))
            else:
                yield name, function


def main(names):
    """Runs the test_* functions among `names` and exits."""
    wanted = sys.argv[1:]
    passed = failed = 0
    try:
        for name, run in cases(names):
            if wanted and not any(w in name for w in wanted):
                continue
            began = time.monotonic()
            try:
                run()
                passed += 1
                print(f'ok   {name} ({time.monotonic() - began:.1f} s)', flush=True)
            except Exception:  # whatever a test stumbles over is its failure
                failed += 1
                print(f'FAIL {name}\n{traceback.format_exc()}', flush=True)
    finally:
        Shared.end()
    print(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed or not passed else 0)
