#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The eider command as scripts use it: test_eider.py EIDER SOURCE_ROOT."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

EIDER = os.path.abspath(sys.argv.pop(1))
ROOT = sys.argv.pop(1)
HASH = ("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoE"
        "OfaS35inz1")
OK, USAGE, DATA, NOT_FOUND, EXISTS, CONFIG = 0, 64, 65, 67, 73, 78


class Command(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="eider-test-")
        self.conf = os.path.join(self.folder, "eider.conf")
        with open(self.conf, "w") as f:
            f.write('data = "%s"; auth = { argon2_memory = "1M"; argon2_passes = 1;'
                    ' scram_iterations = 4096; };' % self.folder)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def run_eider(self, *words, stdin="", code=OK):
        got = subprocess.run([EIDER, *words, "-c", self.conf], input=stdin, text=True,
                             capture_output=True, timeout=120)
        self.assertEqual(got.returncode, code, (words, got.stdout, got.stderr))
        self.assertNotIn("Sanitizer", got.stderr)
        if code:
            self.assertNotEqual(got.stderr, "", words)
        return got.stdout

    def show(self, login):
        return json.loads(self.run_eider("account", "show", "--json", login))

    def test_app_passwords(self):
        run = self.run_eider
        run("account", "add", "a@b.org", "--add-domain", stdin="secret\n")
        first = run("account", "app-password", "add", "a@b.org", "Anna's phone").strip()
        self.assertRegex(first, "^[a-z0-9]{5}(-[a-z0-9]{5}){3}$")
        got = json.loads(run("account", "app-password", "add", "-j", "-s", "smtp,imap", "-e", "90d",
                             "a@b.org", "scanner"))
        self.assertEqual(got["for"], "imap,smtp")
        run("account", "app-password", "add", "a@b.org", "scanner", code=EXISTS)
        run("account", "app-password", "add", "nobody@b.org", "scanner", code=NOT_FOUND)
        run("account", "app-password", "add", "-s", "web", "a@b.org", "x", code=USAGE)
        run("account", "app-password", "add", "-s", "none", "a@b.org", "x", code=USAGE)
        run("account", "app-password", "add", "-e", "soon", "a@b.org", "x", code=USAGE)
        run("account", "app-password", "add", "a@b.org", "a\nb", code=DATA)
        listed = [json.loads(x) for x in
                  run("account", "app-password", "list", "-j", "a@b.org").splitlines()]
        self.assertEqual([(x["name"], x["for"], x["expires"] is None) for x in listed],
                         [("Anna's phone", "all", True), ("scanner", "imap,smtp", False)])
        run("account", "passwd", "a@b.org", stdin="another\n")
        run("account", "set", "a@b.org", "--password-for", "smtp")
        run("account", "set", "a@b.org", "--password-for", "smtp,", code=USAGE)
        shown = self.show("a@b.org")
        self.assertEqual((shown["appPasswords"], shown["passwordFor"]), (2, "smtp"))
        run("account", "set", "a@b.org", "--password-for", "none")
        self.assertEqual(self.show("a@b.org")["passwordFor"], "none")
        run("account", "app-password", "delete", "a@b.org", "Anna's phone")
        run("account", "app-password", "delete", "a@b.org", "Anna's phone", code=NOT_FOUND)
        self.assertEqual(self.show("a@b.org")["appPasswords"], 1)

    def test_an_account_from_its_making_to_its_end(self):
        run = self.run_eider
        run("domain", "add", "Example.org")
        run("domain", "add", "example.org", code=EXISTS)
        run("account", "add", "joe@example.org", "--quota", "5G", "--name", "Joe", stdin="secret\n")
        run("account", "add", "Joe@EXAMPLE.org", stdin="secret\n", code=EXISTS)
        joe = self.show("joe@example.org")
        self.assertEqual((joe["status"], joe["quota"], joe["name"], joe["mailboxes"]),
                         ("enabled", 5 << 30, "Joe", 6))
        self.assertTrue(joe["password"] and joe["scram"])
        run("account", "set", "joe@example.org", "--quota", "1M", "--disable", "--name", "J")
        self.assertEqual(self.show("joe@example.org")["quota"], 1 << 20)
        self.assertEqual(self.show("joe@example.org")["status"], "disabled")
        self.assertFalse(self.show("joe@example.org")["admin"])
        run("account", "set", "joe@example.org", "--admin")
        self.assertTrue(self.show("joe@example.org")["admin"])
        run("account", "set", "joe@example.org", "--no-admin")
        self.assertFalse(self.show("joe@example.org")["admin"])
        run("account", "set", "joe@example.org", "--rename", "jim@example.org", "--enable")
        run("account", "show", "joe@example.org", code=NOT_FOUND)
        self.assertEqual(self.show("jim@example.org")["id"], joe["id"])
        self.assertEqual(self.show(joe["id"])["login"], "jim@example.org")
        run("account", "passwd", "--hash", HASH, "jim@example.org")
        self.assertFalse(self.show("jim@example.org")["scram"])
        run("account", "delete", "jim@example.org", stdin="no\n", code=USAGE)
        run("account", "delete", "--yes", "jim@example.org")
        run("account", "show", "jim@example.org", code=NOT_FOUND)
        run("account", "delete", "--yes", joe["id"])  # again
        run("account", "passwd", joe["id"], stdin="x\n", code=NOT_FOUND)
        run("account", "add", "jim@example.org", "--no-password", "--only-inbox")
        self.assertEqual(self.show("jim@example.org")["mailboxes"], 1)

    def test_random_passwords_are_shown_once(self):
        got = json.loads(self.run_eider("account", "add", "--json", "--random", "--add-domain",
                                        "a@b.org"))
        self.assertEqual(len(got["password"]), 23)
        login, password = self.run_eider("account", "passwd", "-r", "a@b.org").strip().split("\t")
        self.assertEqual(login, "a@b.org")
        self.assertNotEqual(password, got["password"])

    def test_many_from_a_file_with_bad_lines_between(self):
        lines = ["u%d@b.org\t%s\t\tUser %d" % (i, HASH, i) for i in range(200)]
        lines += ["# comment", "", "u5@b.org", "bad\tx", "p@b.org\t{PLAIN}secret\t2M",
                  "q@b.org\t\tnosize", "r@b.org\t$1$a$b"]
        self.run_eider("domain", "add", "b.org")
        got = subprocess.run([EIDER, "account", "add", "-f", "-", "-c", self.conf],
                             input="\n".join(lines), text=True, capture_output=True, timeout=120)
        self.assertEqual(got.returncode, EXISTS, got.stderr)
        self.assertEqual(len(got.stdout.splitlines()), 201)
        for number in (203, 204, 206, 207):
            self.assertIn("stdin:%d: " % number, got.stderr)
        accounts = [json.loads(x) for x in self.run_eider("account", "list", "-j").splitlines()]
        self.assertEqual(len(accounts), 201)
        self.assertEqual(self.show("p@b.org")["quota"], 2 << 20)

    def test_racing_for_one_address_one_wins(self):
        self.run_eider("domain", "add", "b.org")
        codes = []

        def add():
            codes.append(subprocess.run([EIDER, "account", "add", "-N", "x@b.org", "-c", self.conf],
                                        capture_output=True, timeout=120).returncode)

        threads = [threading.Thread(target=add) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(codes), [OK] + [EXISTS] * 3)
        self.assertEqual(len(self.run_eider("account", "list").splitlines()), 1)

    def test_aliases_and_domains(self):
        run = self.run_eider
        run("domain", "add", "b.org", "bücher.example")
        self.assertEqual(run("domain", "list"), "b.org\nxn--bcher-kva.example\n")
        run("alias", "add", "sales@b.org", "x@b.org", "Y+Box@b.org")
        run("alias", "add", "@b.org", "x@b.org")
        run("alias", "add", "a@foreign.org", "x@b.org", code=NOT_FOUND)
        run("alias", "add", "not an address", "x@b.org", code=DATA)
        self.assertEqual(run("alias", "list"), "@b.org\tx@b.org\nsales@b.org\tx@b.org y+Box@b.org\n")
        run("alias", "delete", "sales@b.org", "x@b.org")
        run("alias", "delete", "sales@b.org", "x@b.org", code=NOT_FOUND)
        run("domain", "delete", "b.org", code=DATA)
        run("alias", "delete", "sales@b.org")
        run("alias", "delete", "@b.org")
        run("domain", "delete", "b.org")
        run("domain", "delete", "b.org", code=NOT_FOUND)

    def test_wrong_usage_says_so(self):
        run = self.run_eider
        run("account", "add", code=USAGE)
        run("account", "add", "a", "b", code=USAGE)
        run("account", "frobnicate", code=USAGE)
        run("account", "list", "--frobnicate", code=USAGE)
        run("account", "add", "a@b.org", "-r", "-N", code=USAGE)
        run("account", "add", "a@b.org", "-N", "-q", "5X", code=USAGE)
        run("account", "set", "a@b.org", code=USAGE)
        run("account", "add", "a@b.org", "--hash", "$1$abc$x", code=DATA)
        self.assertIn("Usage: eider account add", run("account", "add", "--help"))
        self.assertIn("account passwd", run("account", "--help"))

    def test_settings(self):
        run = self.run_eider
        self.assertIn("fine", run("config", "check"))
        self.assertIn('argon2_memory = "1M"', run("config", "show"))
        self.assertTrue(all(json.loads(x) for x in run("config", "show", "--json").splitlines()))
        defaults = run("config", "defaults")
        with open(self.conf, "w") as f:
            f.write(defaults)
        self.assertEqual(run("config", "defaults"), defaults)
        with open(self.conf, "w") as f:
            f.write("\nlimits = { foo = 1; };\n")
        got = subprocess.run([EIDER, "config", "check", "-c", self.conf], text=True,
                             capture_output=True, timeout=60)
        self.assertEqual(got.returncode, CONFIG)
        self.assertIn("eider.conf:2: limits.foo: there is no such setting", got.stderr)
        os.unlink(self.conf)
        run("account", "list", code=CONFIG)

    def test_pages_and_sample_are_up_to_date(self):
        for words, file in ((("config", "defaults", "--sample"), "etc/eider.conf"),
                            (("config", "defaults", "--manual"), "docs/man/eider.conf.5"),
                            (("help", "--manual"), "docs/man/eider.1")):
            made = subprocess.run([EIDER, *words], text=True, capture_output=True).stdout
            with open(os.path.join(ROOT, file)) as f:
                self.assertTrue(f.read() == made,
                                "write it anew: eider %s > %s" % (" ".join(words), file))

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_pages_are_clean(self):
        folder = os.path.join(ROOT, "docs/man")
        pages = [os.path.join(folder, x) for x in sorted(os.listdir(folder))]
        got = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], text=True,
                             capture_output=True)
        self.assertEqual(got.stdout + got.stderr, "")


if __name__ == "__main__":
    unittest.main(verbosity=1)
