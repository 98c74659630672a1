# SPDX-License-Identifier: MPL-2.0
"""That what nobody needs goes, although everything breaks meanwhile: what the nodes count of it, and what is
left in the store in the end."""
import json
import re
import threading
import time
import urllib.error
import urllib.request

import mongo_wire
from clusters import NODES, await_that

# What each kind of housekeeping counts; every one must have happened in a run.
WORK = {
    'eider_snapshots_total': 'snapshots saved',
    'eider_swept_records_total': 'records trimmed',
    'eider_swept_segments_total': 'segments of old snapshots removed',
    'eider_swept_messages_total': 'messages removed',
    'eider_swept_links_total': 'uses of blobs removed',
    'eider_swept_blobs_marked_total': 'blobs marked',
    'eider_swept_blobs_total': 'blobs removed',
    'eider_swept_expired_total': 'messages expired',
    'eider_swept_erased_total': 'accounts erased',
    'eider_queue_swept_total': "the queue's documents removed",
}
ACCOUNT_TABLES = ('log', 'messages', 'snapshots', 'segments', 'textindex', 'accounts')
KEY_SIZES = {'log': 8, 'messages': 8, 'snapshots': 0, 'segments': 20, 'textindex': 12, 'accounts': 0}
LOG_LEFT = 400  # records of an account that may be left when all is quiet: two snapshots' distance, and some


class Scraper(threading.Thread):
    """Adds up what each node counts, over its lives."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.total, self.last = dict.fromkeys(WORK, 0), {}
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.wait(0.7):
            self.scrape()

    def scrape(self):
        for node in NODES:
            try:
                with urllib.request.urlopen(f'http://{self.cluster.address(node)}:8080/metrics', timeout=1) as reply:
                    text = reply.read().decode()
            except (OSError, urllib.error.URLError, ValueError):
                continue
            for name in WORK:
                found = re.search(rf'^{name} (\d+)', text, re.M)
                now, before = int(found[1]) if found else 0, self.last.get((node, name), 0)
                self.total[name] += now - before if now >= before else now
                self.last[node, name] = now

    def end(self):
        self.stopping.set()
        self.join(10)
        self.scrape()
        return self.total


def ask(cluster, document):
    """A command to the primary, which must answer."""
    primary = await_that(cluster.primary, 60, 'a primary')
    return await_that(lambda: mongo_wire.command((cluster.address('node' + primary[-1]), 27017),
                                                 {**document, '$db': 'eider'}, 30), 60, 'MongoDB answers')


def keys(cluster, table, first=None, last=None):
    """Of a table, or of a range of it."""
    where = {'_id': {'$gte': first, '$lte': last}} if first else {}
    reply = ask(cluster, {'find': table, 'filter': where, 'projection': {'_id': True}, 'batchSize': 200000,
                          'singleBatch': True})
    if not reply.get('ok'):
        raise AssertionError(f'{table}: {reply}')
    return [one['_id'] for one in reply['cursor']['firstBatch']]


def keys_of(cluster, table, account):
    start = bytes.fromhex(account)
    return keys(cluster, table, start + bytes(KEY_SIZES[table]), start + b'\xff' * KEY_SIZES[table])


def remains(cluster, accounts):
    """{table: how many} of deleted accounts."""
    found = {}
    for table in ACCOUNT_TABLES:
        left = {key[:8].hex() for key in keys(cluster, table)} & set(accounts)
        if left:
            found[table] = sorted(left)
    return found


def strays(cluster):
    """Blobs that no message uses, and uses by messages that are not there."""
    blobs, links = keys(cluster, 'blobs'), keys(cluster, 'bloblinks')
    messages = set(keys(cluster, 'messages'))
    used = {link[:16] for link in links}
    return ([b.hex() for b in blobs if b[:16] not in used] +
            [link.hex() for link in links if link[16:32] not in messages])


def await_none(find, seconds, what):
    end = time.monotonic() + seconds
    while left := find():
        if time.monotonic() > end:
            raise AssertionError(f'{what}, {seconds} s after the last fault: {str(left)[:600]}')
        time.sleep(1)


def check(cluster, gone, accounts, cli, horizon):
    """All that is to go has gone soon after the clients stopped. gone: ids of deleted accounts; accounts: ids of
    the others."""
    patience = 60 + 6 * horizon
    await_none(lambda: remains(cluster, gone), patience, 'I32: deleted accounts have something')
    await_none(lambda: json.loads(cli('fsck', '--all', '--quick', '--json').splitlines()[-1])['orphans'], patience,
               'I27: messages that nobody names')
    await_none(lambda: strays(cluster), patience, 'I27: blobs that nobody uses, or uses by nobody')
    await_none(lambda: {a: n for a in accounts if (n := len(keys_of(cluster, 'log', a))) > LOG_LEFT}, patience,
               'records below a snapshot')
    await_none(lambda: {t: n for t in ('queue', 'queueentries', 'queuedue', 'queuebodies')
                        if (n := len(keys(cluster, t)))}, patience + 60, 'the queue has something')
