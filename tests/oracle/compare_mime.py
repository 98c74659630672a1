#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Compares ENVELOPE, BODY and BODYSTRUCTURE with Dovecot: compare_mime.py MIMEDUMP CORPUS_DIR

Also the bytes of all sections (BODY[1.2.MIME] and so on) as the digest's table gives them, and SEARCH
TEXT, BODY.

Starts a Dovecot of its own (loopback, a free port, a temporary directory; needs root, since Dovecot
does), appends each message of the corpus, and compares what it answers with what mimedump says about
the same bytes (as Dovecot gives them back: it makes all line ends CRLF). Differences that are meant
stand in docs/dovecot-differences.md and in EXPECTED below. Exit status 1 if there are others.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CONFIG = """
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = mdbox:{dir}/mail/%u
first_valid_uid = 1
mail_max_userip_connections = 100
passdb {{
  driver = static
  args = password=x
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={dir}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""

# Message name (pattern), item, why: see docs/dovecot-differences.md.
EXPECTED = [
    (r"address-034\.eml", "ENVELOPE", "blanks around the dots of an address"),
    (r"type-(part-)?30\.eml", "*", "section number that is none"),
]

# Messages that may be found by our SEARCH alone.
FOUND_BY_US = r"latin-body-no-type\.eml|charset-(b|q|raw)-hz\.eml|type-(part-)?02\.eml|space-before-colon\.eml"

# For SEARCH TEXT and SEARCH BODY.
KEYS = ["offer", "INVOICE meeting", "grüße", "Köln", "кириллица", "привет", "καλημέρα", "日本語", "中文", "중", "안녕",
        "schmidt", "Jürgen Müller", "müller", "garcía", "inner", "subject:", "text/html", "boundary", "signed", "color:red",
        "meeting", "Final-Recipient", "one", "innermost", "deepest", "phantom", "zażółć", "שלום", "สวัสดี"]


class Imap:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.file = self.sock.makefile("rb")
        self.tag = 0
        self.file.readline()

    def line(self):
        """One response with its literals, as bytes."""
        out = b""
        while True:
            piece = self.file.readline()
            if not piece:
                raise EOFError
            out += piece
            m = re.search(rb"\{(\d+)\}\r\n$", piece)
            if not m:
                return out[:-2]
            out += self.file.read(int(m.group(1)))

    def command(self, text):
        self.tag += 1
        tag = b"a%d" % self.tag
        self.sock.sendall(tag + b" " + text + b"\r\n")
        lines = []
        while True:
            line = self.line()
            if line.startswith(tag + b" "):
                if not line.startswith(tag + b" OK"):
                    raise RuntimeError("%r: %r" % (text[:60], line))
                return lines
            lines.append(line)

    def append(self, data):
        self.tag += 1
        tag = b"a%d" % self.tag
        self.sock.sendall(tag + b" APPEND INBOX {%d+}\r\n" % len(data) + data + b"\r\n")
        while True:
            line = self.line()
            if line.startswith(tag + b" "):
                return line.startswith(tag + b" OK")


class Reader:
    """IMAP data: lists, strings, NIL, atoms, numbers."""

    def __init__(self, data):
        self.d, self.i = data, 0

    def value(self):
        c = self.d[self.i:self.i + 1]
        if c == b"(":
            self.i += 1
            out = []
            while self.d[self.i:self.i + 1] != b")":
                if self.d[self.i:self.i + 1] == b" ":
                    self.i += 1
                    continue
                out.append(self.value())
            self.i += 1
            return out
        if c == b'"':
            m = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(self.d, self.i)
            self.i = m.end()
            return re.sub(rb"\\(.)", rb"\1", m.group(1), flags=re.S)
        if c == b"{":
            m = re.compile(rb"\{(\d+)\}\r\n").match(self.d, self.i)
            n = int(m.group(1))
            self.i = m.end() + n
            return self.d[m.end():self.i]
        m = re.compile(rb"[^ ()\[]+(?:\[[^\]]*\])?").match(self.d, self.i)
        self.i = m.end()
        return None if m.group(0).upper() == b"NIL" else ("atom", m.group(0))


def theirs(imap, number):
    lines = imap.command(b"FETCH %d (ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[])" % number)
    for line in lines:
        m = re.match(rb"\* \d+ FETCH ", line)
        if m:
            r = Reader(line)
            r.i = m.end()
            items = r.value()
            spans = {}
            for k, v in zip(items[::2], items[1::2]):
                spans[k[1].decode()] = v
            return spans
    raise RuntimeError(lines)


def ours(mimedump, data, path):
    with open(path, "wb") as f:
        f.write(data)
    out = subprocess.run([mimedump, "-1s", path], stdout=subprocess.PIPE, check=True).stdout
    i = out.index(b"\n", out.index(b"\n") + 1) + 1
    items = {}
    for _ in range(3):
        end = out.index(b"\n", i)
        name, n = out[i:end].split()
        items[name.decode()] = Reader(out[end + 1:end + 1 + int(n)]).value()
        i = end + 1 + int(n) + 1
    ranges = [line.split() for line in out[i:].decode().splitlines()]
    return items, {r[1]: data[int(r[2]):int(r[2]) + int(r[3])] for r in ranges[:60]}


def sections(imap, number, ranges):
    """Differences of sections: (section, ours, theirs)."""
    wanted = [s for s in ranges if s.count(".") < 10]
    items = " ".join("BODY.PEEK[%s]" % s for s in wanted)
    for line in imap.command(b"FETCH %d (%s)" % (number, items.encode())):
        m = re.match(rb"\* \d+ FETCH ", line)
        if not m:
            continue
        r = Reader(line)
        r.i = m.end()
        values = r.value()
        for k, v in zip(values[::2], values[1::2]):
            section = k[1].decode()[5:-1]
            if (v or b"") != ranges[section]:
                yield section, ranges[section], v


def search(imap, mimedump, files, names):
    """Differences of SEARCH TEXT and BODY over all messages: (command, messages in one only)."""
    args = [a for k in KEYS for a in ("-k", k)]
    out = subprocess.run([mimedump] + args + files, stdout=subprocess.PIPE, check=True).stdout.decode()
    masks = [[int(x, 16) for x in line.split()[1:]] for line in out.splitlines()]
    for i, key in enumerate(KEYS):
        for which, name in enumerate((b"TEXT", b"BODY")):
            lines = imap.command(b"SEARCH CHARSET UTF-8 %s \"%s\"" % (name, key.encode()))
            theirs = {int(x) for line in lines if line.startswith(b"* SEARCH") for x in line.split()[2:]}
            ours = {n + 1 for n, m in enumerate(masks) if m[which] >> i & 1}
            ours = {n for n in ours if n in theirs or not re.fullmatch(FOUND_BY_US, names[n - 1])}
            if ours != theirs:
                yield "%s %s" % (name.decode(), key), sorted(ours - theirs), sorted(theirs - ours)


def differences(a, b, path=""):
    if type(a) is list and type(b) is list:
        if len(a) != len(b):
            yield path, "%d items: %r" % (len(a), a), "%d items: %r" % (len(b), b)
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, path + "/%d" % i)
    elif a != b:
        yield path, a, b


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_dovecot(base, port):
    os.chmod(base, 0o755)
    os.makedirs(base + "/mail")
    shutil.chown(base + "/mail", "mail", "mail")
    with open(base + "/dovecot.conf", "w") as f:
        f.write(CONFIG.format(dir=base, port=port))
    process = subprocess.Popen(["dovecot", "-F", "-c", base + "/dovecot.conf"], stdout=subprocess.DEVNULL)
    for _ in range(100):
        try:
            return process, Imap(port)
        except OSError:
            time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    raise RuntimeError("dovecot did not start: " + open(base + "/log").read())


def compare(imap, mimedump, corpus, scratch):
    imap.command(b"LOGIN u x")
    imap.command(b"SELECT INBOX")
    count = {"same": 0, "expected": 0, "different": 0, "skipped": 0, "sections": 0, "searches": 2 * len(KEYS)}
    number, files, names = 0, [], []
    for name in sorted(os.listdir(corpus)):
        with open(os.path.join(corpus, name), "rb") as f:
            data = f.read()
        if not data or len(data) > 4 << 20 or not imap.append(data):
            count["skipped"] += 1
            continue
        number += 1
        imap.command(b"NOOP")
        their = theirs(imap, number)
        # Dovecot gives NUL back as 0x80; its texts are made from what is stored
        same = their["BODY[]"] or b"" if b"\0" not in data else re.sub(rb"\r?\n", b"\r\n", data)
        files.append("%s-%d" % (scratch, number))
        names.append(name)
        our, ranges = ours(mimedump, same, files[-1])
        if b"\0" not in data and len(data) < 300000:
            for section, a, b in sections(imap, number, ranges):
                count["different"] += 1
                print("%s BODY[%s]\n    ours   %.200r\n    theirs %.200r" % (name, section, a, b))
            count["sections"] += len(ranges)
        for item in ("ENVELOPE", "BODY", "BODYSTRUCTURE"):
            diffs = list(differences(our[item], their[item]))
            why = next((w for pattern, which, w in EXPECTED if re.fullmatch(pattern, name) and which in (item, "*")), None)
            kind = "same" if not diffs else "expected" if why else "different"
            count[kind] += 1
            if kind == "different":
                for path, a, b in diffs[:3]:
                    print("%s %s%s\n    ours   %.300r\n    theirs %.300r" % (name, item, path, a, b))
    for command, a, b in search(imap, mimedump, files, names):
        count["different"] += 1
        print("SEARCH %s\n    ours only   %s\n    theirs only %s" % (
            command, [names[n - 1] for n in a][:6], [names[n - 1] for n in b][:6]))
    print(count)
    return count["different"] == 0


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    base = tempfile.mkdtemp(prefix="eider-dovecot-")
    process = None
    try:
        process, imap = start_dovecot(base, free_port())
        good = compare(imap, sys.argv[1], sys.argv[2], base + "/message")
    finally:
        if process:
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(base, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
