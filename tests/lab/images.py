# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Images of Debian hosts, from the mirror that this machine's APT is configured for; and each of them once booted.

They lie in $XDG_CACHE_HOME/headroom.netfilter/lab (~/.cache by default), each in a folder named after the release and a hash
of what it is made of: this file and its neighbour, QEMU, and the key that opens it. The folders can be deleted while no host
of theirs runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import machine

RELEASES = ("bullseye", "bookworm", "trixie")
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2", "openssh-server", "python3", "cron"),
    *("initramfs-tools", "linux-image-cloud-amd64", "firewalld", "nftables", "iptables", "ufw", "tuned", "conntrack"),
)
FILES = {
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/machine-id": "",
    "etc/apt/sources.list": "",
    "etc/systemd/network/80-lab.network": (
        "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\n"
    ),
    "etc/ssh/sshd_config.d/lab.conf": "PermitRootLogin prohibit-password\nUseDNS no\nUsePAM no\nMaxStartups 100\n",
}
# A small initrd: it is unpacked by an emulated processor.
INITRD = {
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\n",
    "usr/share/initramfs-tools/modules.d/lab": "virtio_pci\nvirtio_blk\next4\n",
}
ENABLED = ("systemd-networkd",)
DISABLED = (
    "firewalld",
    "nftables",
    "ufw",
    "tuned",
    "cron",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
)
SIZE = "3G"
BOOT_SECONDS = 900
BOOTED = "booted"
"""The name of the snapshot that every host starts from."""

Say = Callable[[str], None]


class Failed(Exception):
    """What could not be done, and where more about it can be read."""


class Image:
    """A release, built and booted when it is first asked for; builders of the same one wait for each other."""

    def __init__(self, release: str, say: Say) -> None:
        self.release = release
        self.key = key()
        self._say = say
        self.home = cache() / f"{release}-{recipe(release, self.key)}"
        self.disk = machine.Disk(self.home / "disk.img", self.home / "vmlinuz", self.home / "initrd.img")

    def booted(self) -> tuple[str, Path]:
        """The accelerator, and a disk that holds the snapshot of a machine which has just booted with it."""
        with locked(self.home / "lock"):
            if not self.disk.image.exists():
                self._build()
            with locked(cache() / "accelerator.lock"):
                accel = machine.accelerator(self.disk.kernel, remembered=cache() / "accelerator")
            booted = self.home / f"{BOOTED}-{accel}.qcow2"
            if not booted.exists():
                self._boot(accel, booted)
            return accel, booted

    def _build(self) -> None:
        started = time.monotonic()
        self._say("building its image")
        root = self.home / "root"
        shutil.rmtree(root, ignore_errors=True)
        _write(root, INITRD)
        included = f"--include={','.join(PACKAGES)}"
        stable = ("--aptopt=Acquire::Check-Valid-Until false", "--skip=check/empty")
        source = f"deb {mirror()} {self.release} main"
        # In namespaces of its own, so that nothing stays mounted and nothing goes on when it is stopped.
        apart = (*machine.WITH_PARENT, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        bootstrap = (
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            *stable,
            included,
            self.release,
            str(root),
            source,
        )
        self._run("build.log", *apart, *bootstrap)
        self._configure(root)
        for kind in ("vmlinuz", "initrd.img"):
            shutil.copy(sorted((root / "boot").glob(f"{kind}-*"))[-1], self.home / kind)
        partial = self.home / "disk.partial"
        partial.unlink(missing_ok=True)
        self._run("build.log", "mke2fs", "-q", "-t", "ext4", "-d", str(root), str(partial), SIZE)
        shutil.rmtree(root)
        partial.rename(self.disk.image)
        self._say(f"built in {time.monotonic() - started:.0f} s")

    def _configure(self, root: Path) -> None:
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        public = self.key.with_suffix(".pub").read_text()
        own = {"etc/hostname": f"{self.release}\n", "etc/resolv.conf": "", "root/.ssh/authorized_keys": public}
        _write(root, {**FILES, **own})
        for verb, units in (("enable", ENABLED), ("disable", DISABLED)):
            self._run("build.log", "systemctl", "--quiet", "--root", str(root), verb, *units)

    def _boot(self, accel: str, booted: Path) -> None:
        """Boot once, and keep the machine as it is when it has settled."""
        started = time.monotonic()
        self._say(f"booting it once ({accel})")
        partial = booted.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        backing = ("-f", "qcow2", "-F", "raw", "-b", str(self.disk.image))
        self._run("boot.log", "qemu-img", "create", "-q", *backing, str(partial))
        port = machine.free_port()
        words = machine.command(self.disk._replace(image=partial), accel, port)
        with (self.home / "boot.log").open("ab") as log:
            process = subprocess.Popen(words, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while not machine.answers(port, self.key):
                if process.poll() is not None or time.monotonic() - started > BOOT_SECONDS:
                    raise Failed(f"{self.release} does not boot: see console.log and boot.log in {self.home}")
                time.sleep(1)
            settle = "systemctl is-system-running --wait; udevadm settle; sync; ! grep -q ^nf_conntrack /proc/modules"
            self._run("boot.log", *machine.ssh(port, self.key), settle)
            said = machine.monitor(self.home, f"savevm {BOOTED}")
            if said:
                raise Failed(f"{self.release}: QEMU does not save the machine: {said.strip()}")
            machine.monitor(self.home, "quit")
            process.wait(60)
        finally:
            process.kill()
            process.wait()
        partial.rename(booted)
        self._say(f"booted in {time.monotonic() - started:.0f} s")

    def _run(self, log: str, *words: str) -> None:
        with (self.home / log).open("ab") as opened:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=opened, stderr=opened, check=False)
        if done.returncode:
            raise Failed(f"{self.release}: {words[0]} failed ({done.returncode}): see {self.home / log}")


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "headroom.netfilter/lab")


def key() -> Path:
    """The private key that opens every image of this cache; made when there is none."""
    path = cache() / "id_ed25519"
    with locked(path.with_suffix(".lock")):
        if not path.with_suffix(".pub").exists():
            path.unlink(missing_ok=True)
            words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))
            subprocess.run(words, stdin=subprocess.DEVNULL, check=True)
    return path


def recipe(release: str, key_path: Path) -> str:
    """A snapshot is of one QEMU with one set of devices."""
    qemu = subprocess.run(("qemu-system-x86_64", "--version"), check=True, capture_output=True).stdout
    files = (Path(__file__), Path(machine.__file__), key_path.with_suffix(".pub"))
    made_of = (release.encode(), qemu, *(path.read_bytes() for path in files))
    return hashlib.sha256(b"\0".join(made_of)).hexdigest()[:12]


def mirror() -> str:
    """Where APT gets Debian from on this machine."""
    words = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    for uri in listed:
        if re.search(r"/debian/?$", uri):
            return uri
    raise Failed("APT's sources name no Debian archive (an address that ends in /debian)")


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        private = path.parent.name == ".ssh"
        path.parent.mkdir(mode=0o700 if private else 0o755, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600 if private else 0o644)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with what a file stands for; a process that ends, however it does, lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
