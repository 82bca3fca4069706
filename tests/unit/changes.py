# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A change of a golden host with all that a change can have, and the host's state before and after."""

import contextlib
import os
import shutil

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.heads import HOME
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.fakes import BUCKETS, HASHSIZE, MAX, MAX_KEY, UDP, ChangedHost

SYSCTL = "/etc/sysctl.d/99-conntrack.conf"
MODPROBE = "/etc/modprobe.d/nf_conntrack.conf"
MODULES_LOAD = "/etc/modules-load.d/nf_conntrack.conf"
UDEV = "/etc/udev/rules.d/90-conntrack.rules"
OTHER = "/etc/sysctl.d/10-other.conf"
OTHER_TEXT = "# Somebody's.\n net.ipv4.ip_forward = 1\nkernel.panic = 10\n"
OLD = "options nf_conntrack hashsize=4096\n"

REQUEST = {
    "id": "first",
    "files": [
        {"path": SYSCTL, "content": "net.netfilter.nf_conntrack_max = 100000\n", "found": ""},
        {"path": MODPROBE, "content": "options nf_conntrack hashsize=16384\n"},
        {"path": MODULES_LOAD, "content": "nf_conntrack\n"},
        {"path": UDEV, "content": "# a rule\n"},
    ],
    "lines": [{"path": OTHER, "found": "net.ipv4.ip_forward = 1", "wanted": "# net.ipv4.ip_forward = 1"}],
    "max": 100000,
    "buckets": 16000,
    "timeouts": {"udp": 60},
    "switches": {"tcp_loose": False},
    "found": {MAX_KEY: 8192},
    "expected": {"boot": {MAX_KEY: 100000}},
    "who": "ann@control",
}
# The same of a host where it was made.
AGAIN = dict(REQUEST, id="again", lines=[], found={}, files=[dict(file, found=None) for file in REQUEST["files"]])


class Machine:
    """Debian 12 below a folder, with a file of ours that is somebody's, a folder that is missing, and a file to be edited."""

    def __init__(self, place):
        self.root = golden.lay_out("debian12", str(place / "host"))
        self.pristine = str(place / "pristine")
        for folder in ("run", "var/lib"):
            os.makedirs(os.path.join(self.root, folder), exist_ok=True)
        os.rmdir(os.path.join(self.root, "etc/udev/rules.d"))
        self.write("/etc/machine-id", "0123\n")
        self.write(OTHER, OTHER_TEXT, 0o640)
        self.write(MODPROBE, OLD, 0o600)
        with contextlib.suppress(OSError):
            os.setxattr(self.root + OTHER, "user.origin", b"somebody")

    def keep(self):
        """As it is now, for ``renew``."""
        shutil.copytree(self.root, self.pristine, symlinks=True)

    def renew(self):
        shutil.rmtree(self.root)
        shutil.copytree(self.pristine, self.root, symlinks=True)

    def host(self, **options):
        return ChangedHost("debian12", self.root, **options)

    def write(self, path, text, mode=0o644):
        at = self.root + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w", encoding="utf-8") as target:
            target.write(text)
        os.chmod(at, mode)

    def text(self, path):
        with open(self.root + path, encoding="utf-8") as source:
            return source.read()

    def state(self):
        """What a change may change: all below /etc, and the live values."""
        values = {path: self.text(path).strip() for path in (MAX, HASHSIZE, BUCKETS, UDP)}
        return self._below("/etc"), values

    def everything(self):
        """But for who had the lock last, and when."""
        found = self._below("/")
        return {path: what for path, what in found.items() if path != "/run/headroom.netfilter.lock"}, self.state()[1]

    def _below(self, folder):
        found = {}
        for at, folders, files in os.walk(self.root + folder):
            for name in folders + files:
                path = os.path.join(at, name)
                found[path[len(self.root) :].replace("//", "/")] = _what(path)
        return found

    def kept(self):
        """The folders of changes."""
        return sorted(os.listdir(self.root + HOME)) if os.path.isdir(self.root + HOME) else []


def _what(path):
    there = os.lstat(path)
    said = [there.st_mode, there.st_uid, there.st_gid]
    if os.path.islink(path):
        return said + [os.readlink(path)]
    if os.path.isfile(path):
        with open(path, "rb") as source:
            said.append(source.read())
        said.append({name: os.getxattr(path, name) for name in os.listxattr(path)})
    return said
