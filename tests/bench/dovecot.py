# SPDX-License-Identifier: MPL-2.0
"""Dovecot beside us: a private one in a temporary folder, on loopback ports, ended by pid."""
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_port(port, seconds=20):
    for _ in range(seconds * 20):
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f'nothing listens at port {port}')


class Dovecot:
    """mail_format: sdbox or maildir; fsync: optimized (Dovecot's default), always or never;
    processes: of one kind, one for each IMAP connection;
    pop3: serve that too."""

    def __init__(self, mail_format='sdbox', fsync='optimized', password='secret', folder=None,
                 processes=200, pop3=False):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix='dovecot-'))
        self.lmtp, self.imap, self.pop3 = free_port(), free_port(), free_port() if pop3 else 0
        self.mail_format, self.password, self.processes = mail_format, password, processes
        user = pwd.getpwnam('nobody')
        mail = self.folder / 'mail'
        mail.mkdir(parents=True)
        os.chown(mail, user.pw_uid, user.pw_gid)
        os.chmod(self.folder, 0o755)
        self.start(fsync)

    def start(self, fsync):
        user, mail = pwd.getpwnam('nobody'), self.folder / 'mail'
        conf = self.folder / 'dovecot.conf'
        conf.write_text(f'''
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log
protocols = imap lmtp{' pop3' if self.pop3 else ''}
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {user.pw_uid}
mail_gid = {user.pw_gid}
default_internal_user = dovecot
default_login_user = dovenull
mail_location = {self.mail_format}:{mail}/%u
mail_fsync = {fsync}
lmtp_save_to_detail_mailbox = no
default_process_limit = {self.processes}
default_client_limit = 3000
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = password={self.password}
}}
userdb {{
  driver = static
  args = uid={user.pw_uid} gid={user.pw_gid} home={mail}/%u/home allow_all_users=yes
}}
service lmtp {{
  process_min_avail = 8
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp}
  }}
}}
service imap-login {{
  process_min_avail = 2
  service_count = 0
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  process_min_avail = 2
  service_count = 0
  inet_listener pop3 {{
    port = {self.pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service stats {{
  client_limit = 3000
}}
protocol imap {{
  mail_max_userip_connections = 0
}}
protocol lmtp {{
  postmaster_address = postmaster@bench.example
}}
''')
        self.process = subprocess.Popen(['dovecot', '-F', '-c', str(conf)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_port(self.imap)
        wait_port(self.lmtp)
        if self.pop3:
            wait_port(self.pop3)

    def pids(self):
        """The master and all that it started."""
        return family(self.process.pid)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def restart(self, fsync):
        self.end()
        self.start(fsync)

    def stop(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def family(pid):
    """A process and all that it started."""
    out, todo = [], [pid]
    while todo:
        pid = todo.pop()
        out.append(pid)
        try:
            todo += map(int, pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split())
        except OSError:
            pass
    return out


def cpu_seconds(pids):
    """Processor time of these processes and of their ended children."""
    tick, total = os.sysconf('SC_CLK_TCK'), 0
    for pid in pids:
        try:
            fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
            total += sum(map(int, fields[11:15]))
        except OSError:
            pass
    return total / tick
