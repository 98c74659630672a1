#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Seeds for the fuzz targets of IMAP and submission: what the client says in each transcript.

    tests/session/seeds.py TRANSCRIPTS-FOLDER SEEDS-FOLDER
"""
import pathlib
import re
import sys


def expand(text):
    text = re.sub(r"\$\{repeat:(\d+):([^}]*)\}", lambda m: m[2] * min(int(m[1]), 300), text)
    text = text.replace("${crlf}", "\r\n")
    out = bytearray()
    for piece in re.split(r"(\$\{[^}]*\})", text):
        if piece.startswith("${x:"):
            out += bytes.fromhex(piece[4:-1])
        else:
            out += (b"5" if piece.startswith("${") else piece.encode())
    return bytes(out)


def client_bytes(path, prefix_connection):
    out = bytearray()
    for line in path.read_text().splitlines():
        m = re.match(r"C(\d?)[:-] (.*)$", line)
        if not m:
            continue
        who = m[1].encode() if prefix_connection and m[1] == "2" else b""
        out += who + expand(m[2]) + b"\r\n"
    return bytes(out)


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    if source.name == "submit":
        folder = target / "submit"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.glob("*.txt")):
            (folder / path.stem).write_bytes(client_bytes(path, False)[:15000])
        return
    for kind, lead in (("imap_parser", b"\x07"), ("imap_session", b"")):
        folder = target / kind
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.glob("*.txt")):
            text = client_bytes(path, kind == "imap_session")
            (folder / path.stem).write_bytes(lead + text[:15000])


main()
