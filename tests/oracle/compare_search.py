#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""SEARCH, SORT and THREAD of a server beside Dovecot's: compare_search.py PORT LOGIN PASSWORD CORPUS_DIR

Appends the messages of the corpus, and discussions that are made up (from a seed, which is printed), to both,
with the same flags and dates, and gives both the same commands. Differences that are meant stand in EXPECTED below
and in docs/dovecot-differences.md. Exit status 1 if there are others.

EIDER_ORACLE_SEED: another seed.
"""
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time

from compare_mime import KEYS, Imap, free_port, start_dovecot

LARGE = 1 << 20
FLAGS = ["", "\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft", "Work", "\\Seen Work", "\\Seen \\Flagged $Forwarded"]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

# Not taken: what is so damaged that each server makes something else of it (dates, ids, addresses, encoded words, 8-bit
# headers, line ends), and charsets that ICU and glibc read differently. compare_mime.py compares these.
LEFT_OUT = (r"(date-(02|03|06|07|10|12|15|16|18)|msgid-.*|address-(022|034|046|071|073|089)|words-(03|04|10|14)|subject-(07|08|11)|"
            r"charset-raw-.*|charset-b-(big5|euc-jp|gbk|iso-2022-jp|mac-roman)|one-.*|cr-.*|double-cr|structure-.*cr.*)\.eml")

# Command (pattern), names of the messages (pattern) in which the answers may differ, why.
EXPECTED = [
    (r".*(SUBJECT|BODY|TEXT|DISPLAY).*", r"latin-body-no-type\.eml|charset-(b|q)-hz\.eml",
     "8-bit text without a charset, charsets that glibc does not know"),
]

FIELDS = ["FROM", "TO", "CC", "BCC", "SUBJECT"]
FIELD_KEYS = ["example", "jo", "list", "re:", "ü", "Müller", "test", "@", "schmidt", "=?", "  ", "иван", "日本"]
HEADERS = [("Message-ID", ""), ("Message-ID", "example"), ("References", "<"), ("X-Mailer", ""), ("Content-Type", "multipart"),
           ("Received", "from"), ("Date", "2020"), ("List-Id", ""), ("DKIM-Signature", "b="), ("Reply-To", "@"), ("X-Nobody", "")]
FLAG_KEYS = ["ALL", "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN", "UNANSWERED", "UNDELETED", "UNDRAFT", "UNFLAGGED", "UNSEEN",
             "KEYWORD work", "UNKEYWORD $Forwarded", "1:*", "3,7,20:30,*", "UID 5:50", "NOT 1:100", "OLDER 86400",
             "YOUNGER 86400", "OLDER 4294967295", "LARGER 1000", "SMALLER 1000", "LARGER 0"]
ARRIVED = [f"{k} {d}" for k in ("BEFORE", "ON", "SINCE") for d in ("1-Jan-2001", "15-Jun-2010", "28-Feb-2024")]
SENT = [f"SENT{k} {d}" for k in ("BEFORE", "ON", "SINCE") for d in ("1-Jan-2001", "15-Jun-2010", "1-Mar-2023", "2-Jan-2024", "5-Feb-2020")]
SORT_KEYS = ["ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO"]


def quote(s):
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


def commands(rng):
    yield from ("SEARCH " + k for k in FLAG_KEYS + ARRIVED + SENT)
    yield from (f"SEARCH CHARSET UTF-8 {f} {quote(k)}" for f in FIELDS for k in FIELD_KEYS)
    yield from (f"SEARCH HEADER {h} {quote(k)}" for h, k in HEADERS)
    simple = FLAG_KEYS + ARRIVED + SENT + [f"{f} {quote(k)}" for f in FIELDS for k in FIELD_KEYS]
    for _ in range(60):
        a, b, c, d = rng.sample(simple, 4)
        yield "SEARCH CHARSET UTF-8 " + rng.choice([f"OR ({a} {b}) NOT {c}", f"NOT (OR {a} {b}) {c}", f"OR NOT {a} OR {b} ({c} {d})",
                                                    f"({a}) NOT (NOT {b})", f"OR {a} TEXT \"the\" {b}"])
        yield "UID SEARCH RETURN (MIN MAX COUNT ALL) CHARSET UTF-8 " + rng.choice([f"{a} {b}", f"NOT {a} {b}", f"OR {a} {b}"])
    yield from (f"SEARCH CHARSET UTF-8 {w} {quote(k)}" for w in ("BODY", "TEXT") for k in KEYS[:12])
    for k in SORT_KEYS:
        yield f"SORT ({k}) UTF-8 ALL"
        yield f"SORT (REVERSE {k}) UTF-8 ALL"
    for _ in range(20):
        keys = rng.sample(SORT_KEYS, rng.randint(2, 4))
        text = " ".join(rng.choice(["", "REVERSE "]) + k for k in keys)
        yield f"UID SORT ({text}) UTF-8 {rng.choice(['ALL', 'SEEN', 'UNSEEN NOT DELETED'])}"
        yield f"SORT RETURN (MIN MAX COUNT) ({text}) UTF-8 ALL"
    for algorithm in ("ORDEREDSUBJECT", "REFERENCES", "REFS"):
        for what in ("ALL", "SEEN", "UNSEEN", "1:100", "150:*"):
            yield f"THREAD {algorithm} UTF-8 {what}"


# ---- messages ----

def discussions(rng, n):
    """Messages that answer each other, with the liberties that mail programs take."""
    ids, out = [], []
    words = ["Tea", "coffee", "Re: Tea", "milk", "Ärger", "plan b", ""]
    for i in range(n):
        mine = f"<d{i}@x.example>"
        lines = [f"From: {rng.choice(['Ann', 'Bob', 'Zoë'])} <{rng.choice('abc')}{i % 7}@x.example>", "To: list@x.example"]
        if ids and rng.random() < .7:
            parent, refs = rng.choice(ids[-12:])
            refs = refs + [parent]
            if rng.random() < .2:
                refs = refs[-1:]
            if rng.random() < .1:
                refs = [f"<away{rng.randrange(20)}@x.example>"] + refs
            if rng.random() < .15:
                refs.insert(rng.randrange(len(refs)), f"<between{rng.randrange(9)}@x.example>")
            lines.append(("References: " + "\r\n ".join(refs)) if rng.random() < .85 else f"In-Reply-To: {parent}")
            subject = rng.choice(["Re: ", "RE: ", "Fwd: ", "re[2]: ", ""]) + rng.choice(words)
        else:
            refs, subject = [], rng.choice(words)
        if rng.random() < .95:
            lines.append(f"Message-ID: {mine}")
        if rng.random() < .95:
            lines.append(f"Date: {rng.randint(1, 28)} {rng.choice(MONTHS)} 2023 {rng.randrange(24):02}:{rng.randrange(60):02}:{i % 60:02}"
                         f" {rng.choice(['+0000', '-0500', '+0900'])}")
        lines.append(f"Subject: {'=?utf-8?q?' + ''.join('=%02X' % c for c in subject.encode()) + '?=' if 'Ä' in subject else subject}")
        out.append((f"discussion-{i}", ("\r\n".join(lines) + f"\r\n\r\nText {i}\r\n").encode()))
        ids.append((mine, refs))
    return out


def corpus_of(folder):
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        if not re.fullmatch(LEFT_OUT, name) and data and len(data) <= LARGE and b"\0" not in data:
            yield name, re.sub(rb"\r?\n", b"\r\n", data)


def append(imap, mailbox, flags, date, data):
    imap.tag += 1
    tag = b"a%d" % imap.tag
    imap.sock.sendall(tag + f' APPEND {mailbox} ({flags}) "{date}" '.encode() + b"{%d+}\r\n" % len(data) + data + b"\r\n")
    while True:
        line = imap.line()
        if line.startswith(tag + b" "):
            return line.startswith(tag + b" OK")


def fill(rng, servers, mailbox, messages):
    for s in servers:
        s.command(b"CREATE " + mailbox.encode())
    for i, (name, data) in enumerate(messages):
        date = f"{rng.randint(1, 28):2}-{rng.choice(MONTHS)}-{rng.randint(1999, 2025)} {rng.randrange(24):02}:00:{i % 60:02} +0000"
        flags = rng.choice(FLAGS)
        if not all([append(s, mailbox, flags, date, data) for s in servers]):
            sys.exit(f"{name} was refused")
    for s in servers:
        s.command(b"SELECT " + mailbox.encode())


# ---- comparing ----

def threads(line):
    """A THREAD response as nested tuples; the only thread of a message stands like several."""
    stack = [[]]
    for token in re.findall(r"\(|\)|\d+", line):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(tuple(done))
        else:
            stack[-1].append(int(token))
    return stack[0]


def esearch(text):
    """The numbers, where ALL gives them and the other items agree; else the items."""
    items = dict(re.findall(r"(MIN|MAX|COUNT|ALL) ([0-9:,]+)", text))
    if items.get("COUNT") == "0" and len(items) == 1:
        return []
    if "ALL" not in items:
        return sorted(items.items())
    numbers = []
    for part in items["ALL"].split(","):
        first, _, last = part.partition(":")
        numbers += range(int(first), int(last or first) + 1)
    good = all(int(items.get(k, v)) == v for k, v in (("MIN", numbers[0]), ("MAX", numbers[-1]), ("COUNT", len(numbers))))
    return numbers if good else sorted(items.items())


def answer(imap, command):
    try:
        lines = imap.command(command.encode())
    except RuntimeError as e:
        return "refused: " + str(e).split(" ", 2)[-1][:100]
    for line in lines:
        text = line.decode()
        if text.startswith("* THREAD"):
            return threads(text[8:])
        if text.startswith("* SORT"):
            return [int(x) for x in text.split()[2:]]
        if text.startswith("* SEARCH"):
            return sorted(int(x) for x in text.split()[2:])
        if text.startswith("* ESEARCH"):
            return esearch(text)
    return "no answer"


def numbers(answered):
    return isinstance(answered, list) and all(isinstance(x, int) for x in answered)


def differ(ours, theirs, names):
    """The first things in which two answers differ, with the messages' names."""
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return f"ours {ours!r}, theirs {theirs!r}"
    if numbers(ours) and numbers(theirs):
        if sorted(ours) != sorted(theirs):
            a, b = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
            return f"ours only {[names[n - 1] for n in a[:5]]}, theirs only {[names[n - 1] for n in b[:5]]}"
        at = next(i for i, (x, y) in enumerate(zip(ours, theirs)) if x != y)
        return (f"at {at}: ours {[(n, names[n - 1]) for n in ours[at:at + 4]]}, "
                f"theirs {[(n, names[n - 1]) for n in theirs[at:at + 4]]}")
    if sorted(map(str, ours)) == sorted(map(str, theirs)):
        at = next(i for i, (x, y) in enumerate(zip(ours, theirs)) if x != y)
        return f"at {at}: ours {str(ours[at:at + 3])[:300]}\n    theirs {str(theirs[at:at + 3])[:300]}"
    only = [x for x in ours if x not in theirs], [x for x in theirs if x not in ours]
    return f"ours only {str(only[0])[:300]}\n    theirs only {str(only[1])[:300]}"


def compare(ours, theirs, rng, names):
    different = done = 0
    # without a Date that can be read: no SENT key matches here, SENTBEFORE there (docs/dovecot-differences.md)
    undated = {names[n - 1] for n in answer(ours, "SEARCH NOT SENTBEFORE 2-Jan-2000 NOT SENTSINCE 2-Jan-2000")}
    for command in commands(rng):
        a, b = answer(ours, command), answer(theirs, command)
        done += 1
        if a == b:
            continue
        meant = undated if "SENTBEFORE" in command else set()
        meant = meant.union(*({w for w in names if re.fullmatch(n, w)} for c, n, _ in EXPECTED if re.fullmatch(c, command)))
        if numbers(a) and numbers(b):
            a, b = ([n for n in x if names[n - 1] not in meant] for x in (a, b))
        elif "MIN" in command:
            continue  # the numbers of what is found have been compared by others
        elif "THREAD REFS" in command:
            a, b = (sorted(map(str, x)) for x in (a, b))
        if a == b:
            continue
        text = differ(a, b, names)
        different += 1
        if different <= 40:
            print(f"{command}\n    {text}")
    print(f"{done} commands, {different} different")
    return different


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    seed = int(os.environ.get("EIDER_ORACLE_SEED", "1"))
    print("seed", seed)
    rng = random.Random(seed)
    base = tempfile.mkdtemp(prefix="eider-dovecot-")
    process = None
    try:
        process, theirs = start_dovecot(base, free_port())
        theirs.command(b"LOGIN u x")
        ours = Imap(int(sys.argv[1]))
        ours.command(f"LOGIN {sys.argv[2]} {sys.argv[3]}".encode())
        different = 0
        for mailbox, messages in (("corpus", list(corpus_of(sys.argv[4]))), ("talk", discussions(rng, 300))):
            begun = time.monotonic()
            fill(rng, (ours, theirs), mailbox, messages)
            print(f"{mailbox}: {len(messages)} messages, {time.monotonic() - begun:.1f} s")
            different += compare(ours, theirs, rng, [name for name, _ in messages])
    finally:
        if process:
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(base, ignore_errors=True)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
