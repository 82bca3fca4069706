# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Twenty hosts on one machine: an sshd each on 127.0.0.1, in a mount namespace with an /etc of its own.

The kernel, and so every conntrack sysctl, is shared. /etc, /var/lib and /run are overlays that live in
memory and vanish with the sshd. So are home and TMPDIR of the login, which spares the hosts the shell
start-up files of whoever runs the bench. The machine's own /etc is never written.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SSHD = "/usr/sbin/sshd"
PRIVSEP = Path("/run/sshd")
NEEDED = ("unshare", "setpriv", "ssh", "ssh-keygen", SSHD)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MANAGED = (  # a fresh host has none of them, even if the machine does
    "/etc/sysctl.d/99-conntrack.conf",
    "/etc/modprobe.d/nf_conntrack.conf",
    "/etc/modules-load.d/nf_conntrack.conf",
    "/etc/udev/rules.d/90-conntrack.rules",
    "/var/lib/headroom",
    "/run/headroom.netfilter.lock",
)

ALONE = ("setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private", "sh", "-c")
# What a host has to itself; OWN and MANAGED say where, and what is not to be there.
PRIVATE = r"""
set -e
mount -t tmpfs -o mode=755 bench "$OWN"
for dir in /etc /var/lib /run; do
    mkdir -p "$OWN/upper$dir" "$OWN/work$dir"
    mount -t overlay -o "lowerdir=$dir,upperdir=$OWN/upper$dir,workdir=$OWN/work$dir" overlay "$dir"
done
rm -rf $MANAGED
"""
START = (
    PRIVATE
    + r"""
mkdir -m 700 "$OWN/home" "$OWN/tmp"
awk -F: -v OFS=: '$1 == "root" { $6 = ENVIRON["OWN"] "/home"; $7 = "/bin/sh" } { print }' /etc/passwd > "$OWN/passwd"
cat "$OWN/passwd" > /etc/passwd
exec "$SSHD" -D -e -f "$CONFIG"
"""
)

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {keys}/host
AuthorizedKeysFile {keys}/client.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
AllowUsers root
StrictModes no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
MaxStartups 100
SetEnv PATH={path} TMPDIR={tmp}
Subsystem sftp internal-sftp
"""


class Host(NamedTuple):
    name: str
    port: int


class Hosts:
    """The hosts of one bench; fresh() gives each a new /etc, as the machine's own is."""

    def __init__(self, home: Path, count: int) -> None:
        self.home = home
        self.known_hosts, self.client_key = home / "known_hosts", home / "client"
        self.all = [Host(f"bench{number:02}", port) for number, port in enumerate(_free_ports(count), 1)]
        self._running: list[subprocess.Popen[bytes]] = []
        self._namespaces: set[str] = set()
        for key in (home / "host", home / "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
        public = (home / "host.pub").read_text()
        self.known_hosts.write_text("".join(f"[127.0.0.1]:{host.port} {public}" for host in self.all))
        for host in self.all:
            (home / host.name).mkdir()
            config = CONFIG.format(port=host.port, keys=home, path=PATH, tmp=home / host.name / "tmp")
            (home / f"{host.name}.conf").write_text(config)

    def inventory(self) -> str:
        return "".join(f"{host.name} ansible_host=127.0.0.1 ansible_port={host.port}\n" for host in self.all)

    def fresh(self) -> None:
        """Every host anew: what any play wrote under /etc is gone."""
        self.stop()
        for host in self.all:
            self._running.append(self._start(host))
        for host, process in zip(self.all, self._running, strict=True):
            self._await(host, process)
            self._namespaces.add(_namespace(process.pid))

    def stop(self) -> None:
        """End every process in the hosts' namespaces; the mounts go with the last of them."""
        for process in self._running:
            process.kill()
            process.wait()
        end_all(lambda pid: _namespace(pid) in self._namespaces)
        self._running, self._namespaces = [], set()

    def _start(self, host: Host) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": PATH,
            "OWN": f"{self.home / host.name}",
            "MANAGED": " ".join(MANAGED),
            "SSHD": SSHD,
            "CONFIG": f"{self.home / host.name}.conf",
        }
        with (self.home / f"{host.name}.log").open("wb") as log:
            return subprocess.Popen(
                [*ALONE, START],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self, host: Host, process: subprocess.Popen[bytes]) -> None:
        for _attempt in range(200):
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", host.port), timeout=5) as line:
                if line.recv(4) == b"SSH-":
                    return
            time.sleep(0.05)
        said = (self.home / f"{host.name}.log").read_text().strip()
        raise RuntimeError(f"The sshd of {host.name} did not start: {said or 'it said nothing'}")


@contextlib.contextmanager
def running(home: Path, count: int) -> Iterator[Hosts]:
    """The hosts, not started yet; stopped whatever happens."""
    made_privsep = not PRIVSEP.exists()
    PRIVSEP.mkdir(mode=0o755, exist_ok=True)
    hosts = Hosts(home, count)
    try:
        yield hosts
    finally:
        hosts.stop()
        if made_privsep:
            PRIVSEP.rmdir()


def end_all(is_ours: Callable[[int], bool]) -> None:
    """End every process of which that is true, those that start meanwhile among them."""
    for _attempt in range(100):
        ours = [pid for pid in (int(entry.name) for entry in Path("/proc").glob("[0-9]*")) if is_ours(pid)]
        if not ours:
            break
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def missing() -> str:
    """What keeps the hosts from running here, as a sentence; empty if nothing does."""
    if os.geteuid() != 0:
        return "make bench needs root: it starts sshd, gives each host an /etc of its own and sets conntrack sysctls."
    if pwd.getpwuid(0).pw_name != "root":
        return "make bench logs in as root, and user 0 has another name here."
    if _absent() and shutil.which("apt-get"):
        _install()
    if absent := _absent():
        return f"make bench needs {', '.join(absent)}: install openssh-server, openssh-client and util-linux."
    return ""


def _absent() -> list[str]:
    return [program for program in NEEDED if not shutil.which(program)]


def _install() -> None:
    """openssh-server by apt, without starting the machine's own sshd."""
    print("installing openssh-server with apt, without starting its service", flush=True)
    policy = Path("/usr/sbin/policy-rc.d")
    made_policy = not policy.exists()
    try:
        if made_policy:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        for command in (["update"], ["install", "-y", "--no-install-recommends", "openssh-server", "openssh-client"]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL, check=False)
    finally:
        if made_policy:
            policy.unlink(missing_ok=True)


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # it has ended
        return ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as all_at_once:
        lines = [all_at_once.enter_context(socket.create_server(("127.0.0.1", 0))) for number in range(count)]
        return [line.getsockname()[1] for line in lines]
