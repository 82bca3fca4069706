# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The image of a user-mode guest: Debian's user-mode-linux of sid, and bookworm's userland with that kernel's modules.

Both come from the mirror that this machine's APT is configured for, and lie in a folder of the lab's cache that is named after
a hash of what they are made of: this file, and the key that opens the image. sid moves: what was built is kept while it is
there. The folder can be deleted while no guest runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import images
import machine

KERNEL, USERLAND = "sid", "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2", "openssh-server", "python3"),
    *("conntrack", "e2fsprogs", "sudo"),
)
DEVICE = "vec0"
GUEST, HOST, LENGTH = "10.0.2.15", "10.0.2.2", 24
"""Each guest is alone with its host in a network namespace."""
FILES = {
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/fstab": "/dev/ubda / ext4 defaults 0 1\n",
    "etc/machine-id": "",
    "etc/apt/sources.list": "",
    "etc/resolv.conf": "",
    "etc/systemd/network/80-lab.network": (
        f"[Match]\nName={DEVICE}\n[Network]\nAddress={GUEST}/{LENGTH}\nGateway={HOST}\nLinkLocalAddressing=no\n"
    ),
    "etc/ssh/sshd_config.d/lab.conf": "PermitRootLogin prohibit-password\nUseDNS no\nUsePAM no\nMaxStartups 100\n",
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=5s\n",
}
ENABLED = ("systemd-networkd",)
DISABLED = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "dpkg-db-backup.timer")
MASKED = ("getty@tty1", "systemd-networkd-wait-online", "systemd-timesyncd", "systemd-logind", "e2scrub_reap")
SIZE = "2G"
PLACES = ("dev", "proc", "tmp", "root", "guest", "image")
"""What a guest's own mounts need in the program's root."""


class Image:
    """Built when it is first asked for; builders wait for each other."""

    def __init__(self) -> None:
        self.key = images.key()
        made_of = (Path(__file__).read_bytes(), self.key.with_suffix(".pub").read_bytes())
        self.home = images.cache() / f"uml-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:12]}"
        self.disk = self.home / "image/disk.img"
        self.program = self.home / "program"

    def built(self) -> None:
        with images.locked(self.home / "lock"):
            if not self.disk.exists():
                self._build()

    def release(self) -> str:
        """Of its kernel."""
        return next((self.program / "usr/lib/uml/modules").iterdir()).name

    def _build(self) -> None:
        started = time.monotonic()
        print(f"building the image of user-mode guests in {self.home}", flush=True)
        root = self.home / "root"
        for tree in (self.program, root):
            shutil.rmtree(tree, ignore_errors=True)
        self._bootstrap("extract", ("user-mode-linux",), KERNEL, self.program)
        for link in ("lib", "lib64"):
            if not (self.program / link).exists():
                (self.program / link).symlink_to(f"usr/{link}")
        for place in PLACES:
            (self.program / place).mkdir(exist_ok=True)
        self._bootstrap("minbase", PACKAGES, USERLAND, root)
        self._configure(root)
        self.disk.parent.mkdir(exist_ok=True)
        partial = self.disk.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        self._run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(partial), SIZE)
        shutil.rmtree(root)
        partial.rename(self.disk)
        print(f"built in {time.monotonic() - started:.0f} s", flush=True)

    def _bootstrap(self, variant: str, packages: tuple[str, ...], suite: str, where: Path) -> None:
        # In namespaces of its own, so that nothing stays mounted and nothing goes on when it is stopped.
        apart = (*machine.WITH_PARENT, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        stable = ("--aptopt=Acquire::Check-Valid-Until false", "--skip=check/empty")
        included = f"--include={','.join(packages)}"
        source = f"deb {images.mirror()} {suite} main"
        words = ("mmdebstrap", "--mode=root", f"--variant={variant}", *stable, included, suite, str(where), source)
        self._run(*apart, *words)

    def _configure(self, root: Path) -> None:
        modules = self.program / "usr/lib/uml/modules"
        shutil.copytree(modules, root / "usr/lib/modules", symlinks=True, dirs_exist_ok=True)
        self._run("chroot", str(root), "depmod", self.release())
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        for name, text in {**FILES, "root/.ssh/authorized_keys": self.key.with_suffix(".pub").read_text()}.items():
            path = root / name
            private = path.parent.name == ".ssh"
            path.parent.mkdir(mode=0o700 if private else 0o755, parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600 if private else 0o644)
        for verb, units in (("enable", ENABLED), ("disable", DISABLED), ("mask", MASKED)):
            self._run("systemctl", "--quiet", "--root", str(root), verb, *units)

    def _run(self, *words: str) -> None:
        log = self.home / "build.log"
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        with log.open("ab") as opened:
            done = subprocess.run(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=opened, stderr=opened, check=False
            )
        if done.returncode:
            command = next(word for word in words if word in ("mmdebstrap", "chroot", "mke2fs", "systemctl"))
            raise images.Failed(f"the image of user-mode guests: {command} failed ({done.returncode}): see {log}")
