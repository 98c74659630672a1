# SPDX-License-Identifier: MPL-2.0
"""A cluster of Eider on one Linux machine, as tools/cluster and tests/cluster use it.

Machines are network namespaces on a bridge: node1 to node3 (addresses .1 to .3 of a network of their
own) and front (.10); this machine itself is .254. On each node run a mongod, a Redis, a Sentinel and
an Eider, on the front HAProxy; all of them with the files of etc/cluster, in which nothing is changed
but the network 10.0.0.x, each node's own address and the folders. What runs is noted in DIR/state.json
(pid and start time of each process), so that whoever comes later can go on, and nothing is ever ended
but by the pid of a process that was started here.

    with Cluster('/tmp/c') as cluster:     # up; down at the end
        cluster.kill('mongod1')
        cluster.heal('mongod1')

Needs root, and what `tools/packages cluster` lists. The nodes' network is 198.18.x.0/24 (a range for
tests: RFC 2544) with the first x that no bridge has; names carry x, so several clusters can be up.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import mongo_wire

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ROOT / 'etc' / 'cluster'
NODES = ('node1', 'node2', 'node3')
MACHINES = {**{name: i for i, name in enumerate(NODES, 1)}, 'front': 10}
ROUTER = 254
NETWORK = '10.0.0.'  # of the files


class Trouble(Exception):
    """A sentence for a person."""


def run(*words, check=True):
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if check and done.returncode:
        raise Trouble(f'{" ".join(map(str, words))}: {done.stderr.decode(errors="replace").strip()}')
    return done.stdout.decode(errors='replace')


def await_that(condition, seconds, what):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Trouble(f'{what}: not within {seconds} s')
        time.sleep(0.05)
    return value


# ---- processes, known by pid and start time ----

def birth(pid):
    """When a process began, in the kernel's ticks; None: it is no more."""
    try:
        os.waitpid(pid, os.WNOHANG)  # if it is a child of ours, nobody else takes it away
    except ChildProcessError:
        pass
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(')') + 2:].split()
    return None if fields[0] in 'ZX' and not has_threads(pid) else int(fields[19])


def has_threads(pid):
    """The first thread of a killed process may be a zombie while others still hold its sockets."""
    try:
        return len(os.listdir(f'/proc/{pid}/task')) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_stopped(pid):
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    return text[text.rindex(')') + 2] in 'Tt'


class Part:
    """One process of the cluster: a name, a machine, and how it is started."""

    def __init__(self, cluster, name, machine, words, answers):
        self.cluster, self.name, self.machine = cluster, name, machine
        self.words, self.answers = words, answers

    @property
    def folder(self):
        return self.cluster.dir / self.machine

    @property
    def pid(self):
        """None: it does not run."""
        pid, began = self.cluster.state['processes'].get(self.name, (None, None))
        return pid if pid and birth(pid) == began else None

    def start(self):
        if self.pid:
            return
        with open(self.folder / f'{self.name}.out', 'ab') as log:
            process = subprocess.Popen(
                ['ip', 'netns', 'exec', self.cluster.namespace(self.machine), *map(str, self.words)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder, env={**os.environ, **self.cluster.environment.get(self.name, {})})
        process.returncode = 0  # birth() takes it away, or init does
        self.cluster.note(self.name, [process.pid, birth(process.pid)])

    def send(self, number):
        if pid := self.pid:
            os.kill(pid, number)

    def stop(self, number=signal.SIGTERM, seconds=15):
        """Ends it, by force if it takes longer."""
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            await_that(lambda: not self.pid, seconds, self.name)
        except Trouble:
            self.send(signal.SIGKILL)
            await_that(lambda: not self.pid, 10, f'{self.name} ends')
        self.cluster.note(self.name, None)

    def status(self):
        pid = self.pid
        if not pid:
            return 'down'
        if is_stopped(pid):
            return 'frozen'
        return 'up' if self.answers() else 'silent'

    def await_ready(self, seconds=60):
        def ready():
            if not self.pid:
                raise Trouble(f'{self.name} has ended: see {self.folder}/{self.name}.out')
            return self.answers()
        await_that(ready, seconds, f'{self.name} answers')


def ask(address, question, timeout=1):
    """What comes back first; b'' where nobody answers."""
    try:
        with socket.create_connection(address, timeout) as s:
            s.settimeout(timeout)
            s.sendall(question)
            return s.recv(4096)
    except OSError:
        return b''


# ---- the whole ----

class Cluster:
    """`settings`: text put behind eider.conf, changed like it; `memory`: GB of each mongod's cache; `environment`:
    variables by part name; `eider`: the program."""

    def __init__(self, folder, settings='', eider=None, environment=None):
        self.dir = pathlib.Path(folder).resolve()
        self.settings = settings
        self.environment = environment or {}
        self.eider = pathlib.Path(eider or ROOT / 'build' / 'plain' / 'daemons' / 'eider').resolve()
        self.state = {'net': None, 'processes': {}}
        self.lock = threading.Lock()  # several may break and mend things at once, each other ones
        if (self.dir / 'state.json').exists():
            self.state = json.loads((self.dir / 'state.json').read_text())
        self.parts = {}
        if self.state['net'] is not None:
            self.define_parts()

    # -- names --

    def save(self):
        with self.lock:
            self.write_state()

    def write_state(self):
        new = self.dir / 'state.json.new'
        new.write_text(json.dumps(self.state, indent=1))
        new.rename(self.dir / 'state.json')

    def note(self, name, process):
        with self.lock:
            if process:
                self.state['processes'][name] = process
            else:
                self.state['processes'].pop(name, None)
            self.write_state()

    def address(self, machine):
        return f'198.18.{self.state["net"]}.{MACHINES[machine]}'

    @property
    def front(self):
        """Where clients go."""
        return self.address('front')

    def namespace(self, machine):
        return f'eider{self.state["net"]}-{machine}'

    def port_of(self, machine):
        """The bridge's end of a machine's cable."""
        return f'e{self.state["net"]}{machine}'

    @property
    def outside(self):
        """This machine, as the nodes see it."""
        return f'198.18.{self.state["net"]}.{ROUTER}'

    @property
    def bridge(self):
        return f'eider{self.state["net"]}'

    # -- machines --

    def choose_net(self):
        taken = run('ip', '-o', 'addr') + run('ip', 'route')
        for net in range(7, 255):
            if f'198.18.{net}.' in taken:
                continue
            # whoever has the bridge has the number: two that look at once do not get the same
            done = subprocess.run(['ip', 'link', 'add', f'eider{net}', 'type', 'bridge'], capture_output=True,
                                  check=False)
            if done.returncode == 0:
                self.state['net'] = net
                self.save()
                return
            if b'exist' not in done.stderr:
                raise Trouble('tools/cluster needs root and a kernel with bridges: ' + done.stderr.decode().strip())
        raise Trouble('no free network in 198.18.0.0/16')

    def make_machines(self):
        run('ip', 'addr', 'add', f'198.18.{self.state["net"]}.{ROUTER}/24', 'dev', self.bridge)
        run('ip', 'link', 'set', self.bridge, 'up')
        for machine in MACHINES:
            space, port = self.namespace(machine), self.port_of(machine)
            run('ip', 'netns', 'add', space)
            run('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
            run('ip', 'link', 'set', port, 'master', self.bridge, 'up')
            run('ip', '-n', space, 'addr', 'add', self.address(machine) + '/24', 'dev', 'eth0')
            run('ip', '-n', space, 'link', 'set', 'eth0', 'up')
            run('ip', '-n', space, 'link', 'set', 'lo', 'up')

    def remove_machines(self):
        for machine in MACHINES:
            run('ip', 'link', 'del', self.port_of(machine), check=False)
            run('ip', 'netns', 'del', self.namespace(machine), check=False)
        run('ip', 'link', 'del', self.bridge, check=False)

    def part(self, machine):
        """Pulls a machine's cable: nothing gets through any more, and nobody is told."""
        run('bridge', 'link', 'set', 'dev', self.port_of(machine), 'state', '0')

    def join(self, machine):
        run('bridge', 'link', 'set', 'dev', self.port_of(machine), 'state', '3')

    def is_parted(self, machine):
        text = run('ip', '-d', 'link', 'show', self.port_of(machine), check=False)
        return 'state disabled' in text

    # -- files --

    def file(self, name, machine):
        """A file of etc/cluster, for one machine: DIR/MACHINE/NAME."""
        text = (FILES / name).read_text()
        own = self.folders(text, machine)
        target = self.dir / machine / name
        target.write_text(own)
        return target

    def folders(self, text, machine):
        """The changes that a person makes who installs a file on that machine, and other folders."""
        here = self.dir / machine
        marked = re.compile(r'(Each node: its own address\.\n)(.*?)(\n\n|\Z)', re.S)
        text = marked.sub(lambda m: m[1] + m[2].replace(NETWORK + '1', f'{NETWORK}{MACHINES[machine]}') + m[3], text)
        if machine in NODES[1:]:
            text = text.replace('# replicaof', 'replicaof')
        text = text.replace(NETWORK, f'198.18.{self.state["net"]}.')
        for real in ('/var/lib', '/var/log', '/run', '/etc/eider'):
            text = re.sub(r'(?<![\w/])' + real + r'(?=/)', str(here / real[1:]), text)
        return text

    def make_files(self):
        for machine in MACHINES:
            for place in ('var/lib/mongodb', 'var/lib/redis', 'var/lib/eider', 'var/log/mongodb', 'var/log/redis',
                          'run/haproxy', 'etc/eider/tls'):
                (self.dir / machine / place).mkdir(parents=True, exist_ok=True)
        for node in NODES:
            for name in ('mongod.conf', 'redis.conf', 'sentinel.conf', 'eider.conf'):
                self.file(name, node)
            with open(self.dir / node / 'eider.conf', 'a', encoding='utf-8') as conf:
                conf.write(self.folders(self.settings, node))
        self.file('haproxy.cfg', 'front')
        self.make_certificate()

    def make_certificate(self):
        """One for all nodes, as a real cluster has."""
        first, *others = [self.dir / node / 'etc/eider/tls' for node in NODES]
        if not (first / 'key.pem').exists():
            run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                '-days', '825', '-subj', '/CN=mail.example.org', '-addext',
                f'subjectAltName=DNS:mail.example.org,IP:{self.front}', '-keyout', first / 'key.pem', '-out',
                first / 'fullchain.pem')
        for other in others:
            for name in ('key.pem', 'fullchain.pem'):
                shutil.copy(first / name, other / name)

    # -- processes --

    def define_parts(self):
        for i, node in enumerate(NODES, 1):
            here, address = self.dir / node, self.address(node)
            self.add(f'mongod{i}', node, [self.state['mongod'], '--config', here / 'mongod.conf'],
                     lambda a=address: bool(mongo_wire.command((a, 27017), {'hello': 1, '$db': 'admin'}, 1)))
            for name, port in (('redis', 6379), ('sentinel', 26379)):
                words = ['redis-server', here / f'{name}.conf'] + ['--sentinel'] * (name == 'sentinel')
                self.add(f'{name}{i}', node, words,
                         lambda a=address, p=port: ask((a, p), b'PING\r\n').startswith(b'+PONG'))
            self.add(f'eider{i}', node, [self.eider, 'serve', '-c', here / 'eider.conf'],
                     lambda a=address: b' 200 ' in ask((a, 8080), b'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')[:20])
        self.add('haproxy', 'front', ['haproxy', '-db', '-f', self.dir / 'front' / 'haproxy.cfg'],
                 lambda: bool(ask((self.front, 143), b'')))

    def add(self, name, machine, words, answers):
        self.parts[name] = Part(self, name, machine, words, answers)

    def kinds(self, *kinds):
        return [p for n, p in self.parts.items() if n.rstrip('123') in kinds]

    def start_kinds(self, *kinds):
        for part in self.kinds(*kinds):
            part.start()
        for part in self.kinds(*kinds):
            part.await_ready()

    def make_set(self):
        """What `rs.initiate` of replset.json does, unless it was done."""
        config = json.loads(self.folders((FILES / 'replset.json').read_text(), 'node1'))
        reply = mongo_wire.command((self.address('node1'), 27017), {'replSetInitiate': config, '$db': 'admin'}, 60)
        if not reply or (not reply['ok'] and reply.get('codeName') != 'AlreadyInitialized'):
            raise Trouble(f'the replica set cannot be made: {reply}')
        await_that(self.primary, 60, 'a primary is elected')

    def hello(self, i):
        return mongo_wire.command((self.address(f'node{i}'), 27017), {'hello': 1, '$db': 'admin'}, 2) or {}

    def primary(self):
        """'mongodN', or None. A primary that is cut off says so of itself for a while longer: the
        newest term counts."""
        found = [(h.get('electionId', b''), i) for i in (1, 2, 3)
                 if (h := self.hello(i)).get('isWritablePrimary')]
        return f'mongod{max(found)[1]}' if found else None

    def is_whole(self):
        """Three members, and the two secondaries copy from somebody. A member that has only just come back is about
        to connect to one; should that one freeze in this very second, mongod tries for 20 s."""
        primary = self.primary()
        status = primary and mongo_wire.command((self.address('node' + primary[-1]), 27017),
                                                {'replSetGetStatus': 1, '$db': 'admin'}, 2)
        members = (status or {}).get('members', [])
        return sum(m['stateStr'] == 'PRIMARY' for m in members) == 1 and \
            sum(m['stateStr'] == 'SECONDARY' and bool(m.get('syncSourceHost')) for m in members) == 2

    def redis_master(self):
        """'redisN', as a Sentinel says, or None."""
        for i in (1, 2, 3):
            said = ask((self.address(f'node{i}'), 26379), b'SENTINEL get-master-addr-by-name eider\r\n')
            for node in NODES:
                if self.address(node).encode() + b'\r\n' in said:
                    return 'redis' + node[-1]
        return None

    def step_down(self):
        """The primary hands over, as for maintenance."""
        name = self.primary()
        if name:
            mongo_wire.command((self.address('node' + name[-1]), 27017), {'replSetStepDown': 10, '$db': 'admin'}, 15)
        return name

    # -- what tools/cluster offers --

    def up(self):
        self.check_programs()
        self.dir.mkdir(parents=True, exist_ok=True)
        if self.state['net'] is not None:
            raise Trouble(f'{self.dir}: it is up already, or was not taken down: tools/cluster down')
        try:
            self.state['mongod'] = run(ROOT / 'tools' / 'mongod').split('\n')[-2]
            self.choose_net()
            self.define_parts()
            self.make_machines()
            self.make_files()
            self.start_kinds('mongod', 'redis')
            self.make_set()
            self.start_kinds('sentinel')
            self.start_kinds('eider')
            self.start_kinds('haproxy')
            await_that(self.front_is_open, 30, 'HAProxy finds the nodes')
        except BaseException:
            self.down()
            raise

    def check_programs(self):
        if os.geteuid() != 0:
            raise Trouble('network namespaces are made by root only')
        missing = [p for p in ('ip', 'redis-server', 'haproxy', 'openssl') if not shutil.which(p)]
        if missing:
            raise Trouble(f'{", ".join(missing)}: not there; tools/packages --install cluster')
        if not os.access(self.eider, os.X_OK):
            raise Trouble(f'{self.eider} is not built: ninja -C build/plain daemons/eider')

    def front_is_open(self):
        return b'OK' in ask((self.front, 143), b'')

    def down(self):
        """Ends all; mail and logs stay in the folder, and the next `up` finds them."""
        for kinds in (('haproxy',), ('eider',), ('sentinel', 'redis'), ('mongod',)):
            parts = self.kinds(*kinds)
            for part in parts:
                part.send(signal.SIGCONT)
                part.send(signal.SIGKILL if kinds == ('haproxy',) else signal.SIGTERM)
            for part in parts:
                part.stop(seconds=40 if kinds == ('mongod',) else 15)
        if self.state['net'] is not None:
            self.remove_machines()
        self.state.update(net=None, processes={})
        self.parts = {}
        if self.dir.exists():
            self.save()

    def part_of(self, name):
        if name not in self.parts:
            raise Trouble(f'{name} is none of: {", ".join(self.parts) or "nothing is up"}')
        return self.parts[name]

    def kill(self, name):
        part = self.part_of(name)
        part.send(signal.SIGKILL)
        await_that(lambda: not part.pid, 10, f'{name} ends')

    def freeze(self, name):
        self.part_of(name).send(signal.SIGSTOP)

    def thaw(self, name):
        self.part_of(name).send(signal.SIGCONT)

    def heal(self, name):
        """Whatever it is that it suffers from. A machine: its cable, and all that runs on it."""
        if name in MACHINES:
            self.join(name)
            for part in self.parts.values():
                if part.machine == name:
                    self.heal(part.name)
            return
        part = self.part_of(name)
        part.send(signal.SIGCONT)
        part.start()

    def heal_all(self, seconds=90):
        for machine in MACHINES:
            self.heal(machine)
        for part in self.parts.values():
            part.await_ready(seconds)

    def status(self):
        """{name: 'up', 'down', 'frozen', 'silent' (runs and does not answer), ...}"""
        found = {m: 'parted' if self.is_parted(m) else 'up' for m in MACHINES}
        primary, master = self.primary(), self.redis_master()
        for name, part in self.parts.items():
            said = part.status()
            found[name] = said + ', primary' * (name == primary) + ', master' * (name == master)
        return found

    def cli_words(self, *arguments, node='node1'):
        return ['ip', 'netns', 'exec', self.namespace(node), str(self.eider), *arguments, '-c',
                str(self.dir / node / 'eider.conf')]

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()
