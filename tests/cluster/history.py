# SPDX-License-Identifier: MPL-2.0
"""What clients did and saw, in one file, one JSON object a line, in the order in which it ended.

  {"n": 12, "who": "imap3", "account": "anna@...", "op": "append", "began": 3.1, "ended": 3.4,
   "result": "ok" | "failed" | "unknown", ...}

"failed" is a definite refusal: it must not have happened, nor happen later (I23). "unknown": no answer came, or
one that says "try again" (LMTP 451). Times are seconds since the beginning, of one clock.

  append, deliver   token: what the message is known by; box; append: given ([[token, uid]] of APPENDUID), validity
  flags             tokens, box, flag, on
  move, copy        token, box, to (move); given, validity: of COPYUID
  expunge           token or tokens, box
  read              token, box, good: it is what was written
  see               box, session, uidvalidity, uidnext, highest, messages: [[uid, modseq, [flags], token, size], ...]
  uidl              session, messages: [[uidl, size, token], ...]
  watch             box, wrong: [sentence, ...]: what was announced and is not so
  sync              box, since, known, limited (the server was told what is known), highest, vanished, changed, later
                    (gone after the answer to SELECT), messages: [[uid, modseq, [flags]], ...]: what is there
  send, arrive      token, to: of submission to others, and at the server that takes it
  keeps             box, seconds: for how long messages stay there
  delete, login     of an account that comes and goes (its name: LOGIN#LIFE)
  fault             what, by the driver
"""
import itertools
import json
import threading
import time


class History:
    def __init__(self, path):
        self.path = path
        self.file = open(path, 'w', encoding='utf-8')
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.numbers = itertools.count()
        self.counts = {}
        self.good = 0  # commands that were done

    def now(self):
        return time.monotonic() - self.began

    def add(self, began, **entry):
        with self.lock:
            entry = {'n': next(self.numbers), 'began': round(began, 4), 'ended': round(self.now(), 4), **entry}
            self.file.write(json.dumps(entry) + '\n')
            key = (entry['op'], entry.get('result'))
            self.counts[key] = self.counts.get(key, 0) + 1
            self.good += entry.get('result') == 'ok'

    def close(self):
        self.file.close()


def load(path):
    with open(path, encoding='utf-8') as file:
        return [json.loads(line) for line in file]
