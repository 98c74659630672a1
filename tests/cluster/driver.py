# SPDX-License-Identifier: MPL-2.0
"""The fault driver: breaks parts of a cluster in an order that a seed gives, and has each come back. Four
threads are at it, each with an order of its own: one at the replica set and the machines' cables, two at the
Eiders, one at the rest.
MongoDB loses its majority for moments only, so that there is something to be lost."""
import random
import threading
import time

from clusters import NODES, await_that

WORK = 15       # commands that the clients get done between two faults of one thread,
PATIENCE = 8    # if they can in so many seconds

VERBS = (('insert', ('log', 'messages', 'snapshots', 'segments', 'bloblinks', 'textindex', 'queue', 'queueentries')),
         ('update', ('snapshots', 'accounts', 'blobs', 'queueentries')),
         ('get', ('log', 'messages', 'segments', 'accounts', 'addresses')),
         ('range', ('log', 'snapshots', 'segments')),
         ('part', ('messages', 'blobs', 'bloblinks', 'queuebodies', 'queueentries', 'queuedue')),
         ('delete', ('log', 'segments', 'messages', 'bloblinks', 'snapshots')))
# the commit itself more often than the rest
POINTS = ['insert.log.before', 'insert.log.after', 'insert.messages.before', 'insert.messages.after'] * 4 + [
    f'{verb}.{table}.{when}' for verb, tables in VERBS for table in tables for when in ('before', 'after')]


class Driver:
    def __init__(self, cluster, history, seed, only='all'):
        """only='set': nothing but the replica set suffers."""
        self.cluster, self.history = cluster, history
        self.chances = threading.local()
        kinds = {  # weight, what is done; the first ones while the replica set is whole
            'set': (0.3, self.whole, {
                'kill the primary': (4, self.kill_primary),
                'freeze the primary': (3, self.freeze_primary),
                'step down': (3, self.step_down),
                'kill a secondary': (3, self.kill_secondary),
                'freeze both secondaries': (2, self.freeze_secondaries),
                'kill both secondaries, then the primary': (3, self.strand_primary),
                'cut a machine off': (3, self.part_machine)}),
            'eider': (0.7, lambda: True, {
                'die at a point': (6, self.die_at_point),
                'kill an Eider': (3, self.kill_eider),
                'freeze an Eider': (2, self.freeze_eider),
                'restart an Eider': (2, self.restart_eider)}),
            'rest': (8, lambda: True, {
                'kill the Redis master': (1, self.kill_redis),
                'kill all of Redis': (1, self.kill_all_redis),
                'kill HAProxy': (1, self.kill_haproxy)})}
        self.lock = threading.Lock()
        self.counts, self.told = {}, 0
        self.points_met = 0
        self.stopping = threading.Event()
        self.failure = None
        self.taken = set()  # Eiders that a thread is at
        self.armed = {}     # Eiders that kill themselves when they come to a point
        names = [name for name in ('set', 'eider', 'eider 2', 'rest') if only in ('all', name)]
        self.threads = [threading.Thread(target=self.run, args=(seed, name, *kinds[name.split()[0]]), daemon=True)
                        for name in names]

    @property
    def chance(self):
        """Of this thread."""
        return self.chances.chance

    @property
    def count(self):
        with self.lock:
            return sum(self.counts.values())

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        """What is under way is mended first."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        for name in list(self.armed):  # nobody dies any more
            self.armed.pop(name)
            self.cluster.kill(name)
        if self.failure:
            raise self.failure

    def run(self, seed, name, pause, may_begin, kinds):
        self.chances.chance = random.Random(f'{seed} {name}')
        try:
            while not self.stopping.wait(self.chance.uniform(0, 2 * pause)):
                if kinds.get('die at a point'):
                    while self.died_later():
                        pass
                if may_begin() and self.await_work():
                    self.one(kinds)
        except Exception as failure:  # told by end()
            self.failure = failure
            self.stopping.set()

    def await_work(self):
        """Faults that leave nobody time to do anything would show nothing. False: it is the end."""
        goal, end = self.history.good + WORK, time.monotonic() + PATIENCE
        while self.history.good < goal and time.monotonic() < end and not self.stopping.wait(0.05):
            pass
        return not self.stopping.is_set()

    def one(self, kinds):
        """Breaks something and mends it again."""
        name = self.chance.choices(list(kinds), [w for w, _ in kinds.values()])[0]
        began = self.history.now()
        what = kinds[name][1]()
        with self.lock:
            self.taken.discard(what.split()[0])
            self.counts[name] = self.counts.get(name, 0) + 1
        self.history.add(began, who='driver', op='fault', what=name, where=what)

    def hold(self, least, most):
        time.sleep(self.chance.uniform(least, most))

    def back(self, name, seconds=60):
        self.cluster.heal(name)
        await_that(self.cluster.parts[name].answers, seconds, f'{name} is back')

    def eider_back(self, name):
        """Without waiting for long: its machine may be cut off, or the store away."""
        self.armed.pop(name, None)
        self.cluster.heal(name)
        end = time.monotonic() + 2
        while not self.cluster.parts[name].answers() and time.monotonic() < end:
            time.sleep(0.05)

    def an_eider(self):
        with self.lock:
            name = self.chance.choice(sorted({'eider1', 'eider2', 'eider3'} - self.taken))
            self.taken.add(name)
        return name

    # -- Eider --

    def die_at_point(self):
        """A new process that will kill itself, now or later."""
        name, point = self.an_eider(), self.chance.choice(POINTS)
        part = self.cluster.parts[name]
        count = self.chance.choice((1, 1, 1, 2, 4))
        self.armed.pop(name, None)
        self.cluster.kill(name)
        self.cluster.environment[name] = {**self.cluster.environment.get('all', {}), 'EIDER_FAULT': f'{point}:{count}'}
        part.start()
        self.cluster.environment[name] = self.cluster.environment.get('all', {})
        end = time.monotonic() + 2
        while part.pid and time.monotonic() < end:
            time.sleep(0.05)
        if part.pid:  # it may come to that point later
            self.armed[name] = f'{point}:{count}'
            return f'{name} {point}:{count} (not yet)'
        with self.lock:
            self.points_met += 1
        self.eider_back(name)
        return f'{name} {point}:{count}'

    def died_later(self):
        """Those that have come to their point since."""
        with self.lock:
            name = next((n for n in self.armed if n not in self.taken and not self.cluster.parts[n].pid), None)
            if not name:
                return False
            self.taken.add(name)
            point = self.armed.pop(name)
            self.points_met += 1
            self.counts['die at a point'] = self.counts.get('die at a point', 0) + 1
        self.history.add(self.history.now(), who='driver', op='fault', what='die at a point', where=f'{name} {point} (later)')
        self.eider_back(name)
        with self.lock:
            self.taken.discard(name)
        return True

    def kill_eider(self):
        name = self.an_eider()
        self.cluster.kill(name)
        self.hold(0, 1)
        self.eider_back(name)
        return name

    def freeze_eider(self):
        name = self.an_eider()
        if not self.cluster.parts[name].pid:
            self.eider_back(name)
        self.cluster.freeze(name)
        self.hold(0.5, 4)
        self.cluster.thaw(name)
        return name

    def restart_eider(self):
        name = self.an_eider()
        self.cluster.parts[name].stop(seconds=40)
        self.eider_back(name)
        return name

    # -- MongoDB --

    def whole(self):
        """Three members that follow one primary: one of them may be taken away."""
        said = [self.cluster.hello(i) for i in (1, 2, 3)]
        return sum(bool(h.get('isWritablePrimary')) for h in said) == 1 and \
            sum(bool(h.get('secondary')) for h in said) == 2

    def kill_primary(self):
        name = self.cluster.primary() or 'mongod1'
        self.cluster.kill(name)
        self.hold(0.2, 3)
        self.cluster.heal(name)
        return name

    def freeze_primary(self):
        name = self.cluster.primary() or 'mongod1'
        self.cluster.freeze(name)
        self.hold(1, 6)
        self.cluster.thaw(name)
        return name

    def step_down(self):
        return self.cluster.step_down()

    def kill_secondary(self):
        primary = self.cluster.primary()
        name = self.chance.choice([f'mongod{i}' for i in (1, 2, 3) if f'mongod{i}' != primary])
        self.cluster.kill(name)
        self.hold(0.2, 2)
        self.cluster.heal(name)
        return name

    def secondaries(self):
        primary = self.cluster.primary()
        return [f'mongod{i}' for i in (1, 2, 3) if f'mongod{i}' != primary][:2]

    def freeze_secondaries(self):
        """Longer than a write waits: it is told that its outcome is unknown, and then happens."""
        names = self.secondaries()
        for name in names:
            self.cluster.freeze(name)
        self.hold(1, 6)
        for name in names:
            self.cluster.thaw(name)
        return ' '.join(names)

    def strand_primary(self):
        """What it takes while the others are down is on no other member, and rolled back later: they elect
        one of them before it comes back."""
        names, primary = self.secondaries(), self.cluster.primary() or 'mongod1'
        for name in names:
            self.cluster.kill(name)
        self.hold(0.3, 1.8)
        self.cluster.kill(primary)
        for name in names:
            self.cluster.heal(name)
        await_that(self.cluster.primary, 60, 'the others elect a primary')
        self.cluster.heal(primary)
        return primary

    def part_machine(self):
        name = self.chance.choice(NODES)
        self.cluster.part(name)
        self.hold(1, 6)
        self.cluster.join(name)
        return name

    # -- the rest --

    def kill_redis(self):
        name = self.cluster.redis_master() or 'redis1'
        self.cluster.kill(name)
        self.hold(0.5, 4)
        self.cluster.heal(name)
        return name

    def kill_all_redis(self):
        for i in (1, 2, 3):
            self.cluster.kill(f'redis{i}')
        self.hold(0.5, 4)
        for i in (1, 2, 3):
            self.cluster.heal(f'redis{i}')
        return 'redis1 to redis3'

    def kill_haproxy(self):
        self.cluster.kill('haproxy')
        self.hold(0, 0.5)
        self.back('haproxy')
        return 'haproxy'


def end_of_trouble(cluster):
    """Everything up again, and seen to be."""
    cluster.heal_all(120)
    await_that(cluster.is_whole, 120, 'the replica set is whole')
    await_that(cluster.front_is_open, 60, 'the front')
