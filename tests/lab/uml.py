#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""User-mode guests to test on: hosts with conntrack as a module, up in seconds, whose power can be cut.

uml.py check               say what this machine lacks for them, after installing what it can (as root, with APT)
uml.py up N                build the image if it is not built, start the guests uml1 to umlN, write DIR/inventory.yml
uml.py ssh GUEST [COMMAND...]  a shell, or a command, on a guest
uml.py cut GUEST...        cut the power: what the guest has not synced is lost
uml.py boot GUEST...       start them again from the disk as it is
uml.py down [GUEST...]     end them, and forget their disks

They listen on 127.0.0.1 only and reach nothing beyond. All that belongs to them lies in DIR (--at DIR, or $LAB, or .cache/uml).
A guest is one process with namespaces of its own (processes, mounts, network): whoever kills it takes all of the guest with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import platform
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import images
import machine
import uml_image

REPO = Path(__file__).resolve().parents[2]
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "ip": "iproute2",
    "ssh": "openssh-client",
}
MEMORY_MB = 512
BOOT_SECONDS, COMMAND_SECONDS, END_SECONDS = 120, 300, 20
AT_ONCE = 2
"""Guests booted at once: each takes a core."""
RESTARTS, LAST_WORDS = b"reboot: Restarting system", 200
"""What a kernel says at last that is to be started again. Left to itself it would, with its tap still open: and fail."""
RAMDISK = "initrd.img"
"""In the folder of a guest: it is booted with that, where there is one."""
DISK, MEMORY = "disk.img", "memory"
"""The same: what it is booted from in place of the image of all, and with how many MB."""
PORTS = range(20000, 30000)
"""Below those that Linux gives to connections, so that a guest finds its own again when it is booted again."""


class Guest:
    """A guest in a folder of its own. Whoever runs it holds the lock in there: no lock, no guest."""

    def __init__(self, lab: Path, name: str) -> None:
        self.lab = lab
        self.name = name
        self.home = lab / name

    @property
    def port(self) -> int:
        return int((self.home / "port").read_text())

    def ssh(self) -> list[str]:
        return machine.ssh(self.port, images.key())

    def runs(self) -> bool:
        with contextlib.suppress(FileNotFoundError), self._lock("r") as lock:
            return not _taken(lock)
        return False

    def boot(self, owner: int | None = None) -> float:
        """From the disk as it is, or a new one; until SSH answers. How many seconds that took."""
        started = time.monotonic()
        image = uml_image.Image()
        image.built()
        self.home.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            lock = opened.enter_context(self._lock("a"))
            if not _taken(lock):
                raise images.Failed(f"{self.name} runs already, in {self.home}")
            listener = opened.enter_context(self._listener())
            descriptors = [lock.fileno(), listener.fileno()]
            if owner:
                descriptors.append(os.pidfd_open(owner))
                opened.callback(os.close, descriptors[-1])
            apart = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
            words = (
                sys.executable,
                "-B",
                __file__,
                "--at",
                str(self.lab),
                "run",
                self.name,
                *map(str, descriptors[1:]),
            )
            with (self.home / "run.log").open("ab") as log:
                # The process writes down who it is before it is anything: nobody else can be killed in its place.
                process = subprocess.Popen(
                    ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.home / "pid"), *apart, *words),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=descriptors,
                    start_new_session=True,
                )
        self._await("", process.poll)
        return time.monotonic() - started

    def cut(self) -> None:
        """The power is gone: all of its processes are killed, and its disk is as it is."""
        deadline = time.monotonic() + END_SECONDS
        while self.runs():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int((self.home / "pid").read_text()), signal.SIGKILL)
            if time.monotonic() > deadline:
                raise images.Failed(f"{self.name} does not end: see {self.home}")
            time.sleep(0.01)

    def reboot(self) -> None:
        """As root of it would; until it has come back."""
        before = self.run("cat /proc/sys/kernel/random/boot_id")
        self.attempt("systemctl reboot")
        self._await(before)

    def down(self) -> None:
        self.cut()
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, script: str) -> str:
        """What a script of Bash printed."""
        done = self.attempt("set -euo pipefail\n" + script)
        if done.returncode:
            raise images.Failed(f"{self.name}: exit code {done.returncode} of\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout

    def attempt(self, script: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        words = [*self.ssh(), "bash -s"]
        try:
            return subprocess.run(words, input=script, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as late:
            raise images.Failed(f"{self.name}: not done within {seconds} seconds:\n{script}") from late

    def _await(self, before: str, ended: Callable[[], int | None] = lambda: None) -> None:
        """Until it answers as another boot than that before, and all that starts has started."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline and ended() is None:
            with contextlib.suppress(images.Failed):
                done = self.attempt("cat /proc/sys/kernel/random/boot_id", seconds=30)
                if done.returncode == 0 and done.stdout != before:
                    self.attempt("systemctl is-system-running --wait; udevadm settle")
                    return
            time.sleep(0.2)
        if not self.runs():
            raise images.Failed(f"{self.name} ended instead of booting: see console.log and run.log in {self.home}")
        raise images.Failed(f"{self.name} does not answer: see console.log and run.log in {self.home}")

    def _lock(self, mode: str) -> IO[str]:
        return (self.home / "lock").open(mode)

    def _listener(self) -> socket.socket:
        """At the port it had before, if it had one."""
        known = self.home / "port"
        ports = [self.port] if known.exists() else random.sample(PORTS, 100)
        for port in ports:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                listener.listen(100)
            except OSError:
                listener.close()
                continue
            known.write_text(str(port))
            return listener
        raise images.Failed(f"{self.name}: somebody else listens at {ports[0]} now")

    # What follows is done in the guest's own namespaces, by the first process in there.

    def serve(self, listener: socket.socket, owner: int | None) -> int:
        """Run the kernel until the guest powers off or panics, or its owner ends."""
        image = uml_image.Image()
        _prepare(image, self.home)
        return asyncio.run(self._serve(image, listener, owner))

    async def _serve(self, image: uml_image.Image, listener: socket.socket, owner: int | None) -> int:
        if owner is not None:
            asyncio.get_running_loop().add_reader(owner, os._exit, 0)
        await asyncio.start_server(_forward, sock=listener)
        console = self.home / "console.log"
        while True:
            with console.open("ab") as opened:
                kernel = await asyncio.create_subprocess_exec(
                    *kernel_command(image, self.name, self.home),
                    env={"HOME": "/root", "TMPDIR": "/tmp", "PATH": "/usr/sbin:/usr/bin"},
                    stdin=subprocess.DEVNULL,
                    stdout=opened,
                    stderr=opened,
                )
                code = await kernel.wait()
            if RESTARTS not in console.read_bytes()[-LAST_WORDS:]:
                return code


def kernel_command(image: uml_image.Image, name: str, home: Path) -> tuple[str, ...]:
    memory = int((home / MEMORY).read_text()) if (home / MEMORY).exists() else MEMORY_MB
    disk = f"/guest/{DISK}" if (home / DISK).exists() else f"/image/{image.disk.name}"
    return (
        *("chroot", str(image.program), "/usr/bin/linux.uml", f"umid={name}", "uml_dir=/tmp", f"mem={memory}M"),
        *(f"ubd0=/guest/disk.cow,{disk}", "root=/dev/ubda", "rw", "net.ifnames=0"),
        *(f"{uml_image.DEVICE}:transport=tap,ifname=tap0,depth=64", f"systemd.hostname={name}"),
        *("con=null", "con0=null,fd:1", "ssl=null", "pty.legacy_count=0", "panic=1", "noreboot", "seccomp=auto"),
        *((f"initrd=/guest/{RAMDISK}",) if (home / RAMDISK).exists() else ()),
    )


def _prepare(image: uml_image.Image, home: Path) -> None:
    """The tap, and the folder that the kernel sees as its root."""
    program = image.program
    for words in (
        ("ip", "tuntap", "add", "dev", "tap0", "mode", "tap"),
        ("ip", "address", "add", f"{uml_image.HOST}/{uml_image.LENGTH}", "dev", "tap0"),
        # Its driver loses what is longer than a frame.
        ("ip", "link", "set", "dev", "tap0", "gso_max_segs", "1", "up"),
        ("mount", "--bind", "/dev", program / "dev"),
        ("mount", "--bind", home, program / "guest"),
        ("mount", "--bind", "-o", "ro", image.disk.parent, program / "image"),
        ("mount", "-t", "proc", "proc", program / "proc"),
        ("mount", "-t", "tmpfs", "-o", "mode=1777", "guest", program / "tmp"),
    ):
        subprocess.run(words, stdin=subprocess.DEVNULL, check=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A connection of the machine's to the guest's SSH."""
    try:
        inner_reader, inner_writer = await asyncio.wait_for(asyncio.open_connection(uml_image.GUEST, 22), 10)
    except (OSError, asyncio.TimeoutError):
        writer.close()
        return
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def running(lab: Path, count: int) -> Iterator[list[Guest]]:
    """Guests as long as this lasts, and no longer than this process."""
    guests = [Guest(lab, f"uml{number}") for number in range(1, count + 1)]
    try:
        each(guests, Guest.down)
        each(guests, lambda guest: guest.boot(os.getpid()))
        write_inventory(lab)
        yield guests
    finally:
        each(guests, Guest.down)


def each(guests: list[Guest], work: Callable[[Guest], object]) -> None:
    """For some guests at once; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(work, guest) for guest in guests]:
            done.result()


def cut_at(guest: Guest, command: str | Sequence[str], when: float | str) -> bool:
    """Cut the power of a guest in the midst of a command, a script of Bash there or the words of one here, and boot it again.

    When: so many seconds after its start; or once another script ends well on the guest, which is tried over and over.
    False where the command has ended before: then the guest runs on.
    """
    words = [*guest.ssh(), "bash -c " + shlex.quote(command)] if isinstance(command, str) else list(command)
    with contextlib.ExitStack() as ended:
        if isinstance(when, str):
            watch = f"echo ready; until {when}; do sleep 0.01; done; echo b > /proc/sysrq-trigger"
            watcher = subprocess.Popen([*guest.ssh(), watch], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            ended.callback(_end, watcher)
            assert watcher.stdout
            watcher.stdout.readline()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ended.callback(_end, process)
        deadline = time.monotonic() + (COMMAND_SECONDS if isinstance(when, str) else when)
        while process.poll() is None and guest.runs() and time.monotonic() < deadline:
            time.sleep(0.01)
        if guest.runs() and process.poll() is not None:
            # It ends with the power, too, and is sooner told of than that.
            time.sleep(0.5)
            if guest.runs():
                return False
        guest.cut()
    guest.boot(os.getpid())
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def all_of(lab: Path) -> list[Guest]:
    return [Guest(lab, path.parent.name) for path in sorted(lab.glob("*/port"))]


def write_inventory(lab: Path) -> Path:
    """All guests that there are, as Ansible reads it: JSON is YAML."""
    common = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(images.key()),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_timeout": 30,
    }
    hosts = {guest.name: {"ansible_port": guest.port} for guest in all_of(lab)}
    path = lab / "inventory.yml"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"all": {"children": {"uml": {"hosts": hosts, "vars": common}}}}, indent=2) + "\n")
    partial.rename(path)
    return path


def lack() -> str | None:
    """Why there can be no such guests here; packages that are missing are installed where that is possible.

    The image is built, and booted once each time that this machine has: no kernel of sid runs on every processor.
    """
    if platform.machine() != "x86_64":
        return f"their kernel is for x86_64, this machine is {platform.machine()}"
    if os.geteuid() != 0:
        return "needs root, to build images and to make network namespaces"
    if not shutil.which("apt-get"):
        return "needs APT, to build images of Debian"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun, which guests are reached by"
    packages = sorted({package for command, package in NEEDED.items() if not shutil.which(command)})
    if packages:
        print(f"Installing {' '.join(packages)} with apt-get ...", flush=True)
        images.cache().mkdir(parents=True, exist_ok=True)
        with (images.cache() / "apt.log").open("ab") as log:
            for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                subprocess.run(["apt-get", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    missing = sorted({package for command, package in NEEDED.items() if not shutil.which(command)})
    if missing:
        return f"these packages are not installed: {' '.join(missing)}"
    try:
        image = uml_image.Image()
        image.built()
        _boots(image)
    except images.Failed as failure:
        return str(failure)
    return None


def _boots(image: uml_image.Image) -> None:
    remembered = image.home / "boots"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    with images.locked(image.home / "boots.lock"):
        if not remembered.exists() or remembered.read_text() != boot:
            guest = Guest(image.home, "probe")
            guest.down()
            guest.boot(os.getpid())  # where it fails, its logs stay
            guest.down()
            remembered.write_text(boot)


def main(arguments: argparse.Namespace) -> int:
    lab = Path(arguments.at).resolve()
    if arguments.verb == "run":
        listener = socket.socket(fileno=arguments.listener)
        return Guest(lab, arguments.guest).serve(listener, arguments.owner_descriptor)
    if arguments.verb == "ssh":
        words = Guest(lab, arguments.guest).ssh()
        os.execvp(words[0], words + arguments.command)
    if arguments.verb in ("check", "up") and (reason := lack()):
        sys.exit(f"no user-mode guests on this machine: {reason}")
    if arguments.verb == "up":
        wanted = [Guest(lab, f"uml{number}") for number in range(1, arguments.count + 1)]
        each([guest for guest in wanted if not guest.runs()], lambda guest: _told(guest, arguments.owner))
        print(f"inventory: {os.path.relpath(write_inventory(lab))}")
    elif arguments.verb in ("cut", "boot", "down"):
        chosen = [Guest(lab, name) for name in arguments.guest] or all_of(lab)
        verbs: dict[str, Callable[[Guest], object]] = {
            "cut": Guest.cut,
            "down": Guest.down,
            "boot": lambda guest: _told(guest, arguments.owner),
        }
        each(chosen, verbs[arguments.verb])
        if lab.exists():
            write_inventory(lab)
    return 0


def _told(guest: Guest, owner: int | None) -> None:
    seconds = guest.boot(owner)
    print(
        f"{time.strftime('%H:%M:%S')} {guest.name}: answers at 127.0.0.1:{guest.port} after {seconds:.1f} s", flush=True
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", default=os.environ.get("LAB") or REPO / ".cache/uml", metavar="DIR")
    parser.add_argument("--owner", type=int, metavar="PID", help="the guests end when this process does")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("check")
    verbs.add_parser("up").add_argument("count", type=int, metavar="N")
    for verb, number in (("cut", "+"), ("boot", "+"), ("down", "*")):
        verbs.add_parser(verb).add_argument("guest", nargs=number, metavar="GUEST")
    for verb in ("ssh", "run"):
        verbs.add_parser(verb).add_argument("guest", metavar="GUEST")
    verbs.choices["ssh"].add_argument("command", nargs=argparse.REMAINDER)
    verbs.choices["run"].add_argument("listener", type=int)
    verbs.choices["run"].add_argument("owner_descriptor", type=int, nargs="?")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(parse()))
    except images.Failed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped")
