# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The hosts of tests/unit/hosts: their trees laid out on disk, behind the door that the collection reads them through.

    PYTHONPATH=... python -m ansible_collections.headroom.netfilter.tests.unit.golden NAME

prints a draft of NAME's facts.json, to be checked against its tree by hand: README.md says how.
"""

import errno
import json
import os
import shutil
import stat
import sys
import tempfile

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import (
    FLAVOURS,
    SWITCHES,
    timeout_key,
)

HOSTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hosts")
NAMES = sorted(name for name in os.listdir(HOSTS) if os.path.isfile(os.path.join(HOSTS, name, "host.json")))


def load(name, kind="host"):
    """A host's host.json or facts.json."""
    with open(os.path.join(HOSTS, name, kind + ".json"), encoding="utf-8") as source:
        return json.load(source)


def lay_out(name, where):
    """Make the tree of a host in the directory ``where``, which must not be there yet: files, directories, links, modes."""
    said = load(name)
    shutil.copytree(os.path.join(HOSTS, name, "root"), where, symlinks=True)
    for path, text in said.get("files", {}).items():
        _make_room(where, path)
        with open(_below(where, path), "w", encoding="utf-8") as target:
            target.write(text)
    for path in said.get("dirs", []):
        os.makedirs(_below(where, path), exist_ok=True)
    # Git keeps of a mode whether a file can be run, and a umask may take the rest.
    for folder, _folders, files in os.walk(where):
        os.chmod(folder, 0o755)
        for file in files:
            if not os.path.islink(os.path.join(folder, file)):
                os.chmod(os.path.join(folder, file), 0o644)
    for path, mode in said.get("modes", {}).items():
        os.chmod(_below(where, path), int(mode, 8))
    for path, target in said.get("links", {}).items():
        _make_room(where, path)
        # An absolute link points into the tree, as a chroot would have it.
        os.symlink(_below(where, target) if target.startswith("/") else target, _below(where, path))
    return where


def _below(where, path):
    return os.path.join(where, path.lstrip("/"))


def _make_room(where, path):
    os.makedirs(os.path.dirname(_below(where, path)), exist_ok=True)


class GoldenHost(WritableHost):
    """A laid out host, as root sees it or as any other user does."""

    def __init__(self, name, root, as_root=True):
        super().__init__(root)
        self._said = load(name)
        self._as_root = as_root

    def machine(self):
        return self._said["machine"]

    def page_size(self):
        return self._said["page_size"]

    def ticks(self, release):
        return self._said.get("hz")

    def python(self):
        return self._said["python"]

    def is_root(self):
        return self._as_root and self._said["root"]

    def read(self, path):
        return super().read(path) if self._may_read(path) else None

    def tail(self, path, limit):
        return super().tail(path, limit) if self._may_read(path) else None

    def link(self, path):
        return super().link(path) if self._may_read(path) else None

    def list(self, path):
        return super().list(path) if self._may_read(path) else []

    def inside(self, files, look, longest=0):
        return {}

    def netfilter(self):
        if "statistics" not in self._said:
            return super().netfilter()
        # It is a golden host's child.
        from ansible_collections.headroom.netfilter.tests.unit import ctnetlink

        table = ctnetlink.Table()
        table.refuse = errno.EPERM
        told = [ctnetlink.statistics(row) for row in self._said["statistics"]] if self.is_root() else []
        table.policies = {ctnetlink.STATISTICS: told + [ctnetlink.done() if told else ctnetlink.refusal(errno.EPERM)]}
        return ctnetlink.Conversation(table)

    def file(self, path):
        found = super().file(path) if self._may_read(path) else None
        # Whoever runs the tests owns what they have laid out.
        return found and found._replace(owner="root", group="root")

    def writable(self, path):
        if self._is_below(path, self._said.get("read_only", [])):
            return False
        # By the mode alone, for root too, which is how sysctl files are.
        return bool(self._mode(path) & (stat.S_IWUSR if self.is_root() else stat.S_IWOTH))

    def write(self, path, text):
        raise AssertionError(f"facts are only read, and {path} was written")

    def _may_read(self, path):
        denied = self._is_below(path, self._said["denied"])
        if not self.is_root():
            mode = self._mode(path)
            denied = denied or (bool(mode) and not mode & stat.S_IROTH)
        if denied and path not in self.unreadable:
            self.unreadable.append(path)
        return not denied

    def _mode(self, path):
        try:
            return os.stat(self.path(path)).st_mode
        except (OSError, ValueError):
            return 0

    @staticmethod
    def _is_below(path, folders):
        return any(path == folder or path.startswith(folder + "/") for folder in folders)


def gathered(host):
    return shortened(gather(host, ["all"]))


def shortened(facts, timeouts=None):
    """Facts as facts.json has them: of timeouts, the outcome only where they will not be what they are."""
    for event in ("boot", "reload"):
        values = facts.get("outcome", {}).get(event, {})
        for name, seconds in (timeouts or facts.get("timeouts", {})).items():
            key = FLAVOURS[facts["flavour"]].prefix + timeout_key(name)
            if values.get(key) == {"kind": "default", "value": seconds, "source": "kernel default"}:
                del values[key]
        for name in SWITCHES:
            key = FLAVOURS[facts["flavour"]].prefix + name
            if values.get(key, {}).get("kind") == "default":
                del values[key]
    return facts


def overlaid(base, changes):
    """``base`` with the values of ``changes`` in place of its own, mappings gone into but for empty ones."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    merged = dict(base)
    for name, value in changes.items():
        merged[name] = overlaid(base[name], value) if name in base and value != {} else value
    return merged


def differing(base, other):
    """What ``overlaid`` needs to make ``other`` of ``base``; mappings must have the same names."""
    if not (isinstance(base, dict) and isinstance(other, dict) and set(base) == set(other)):
        return other
    return {name: differing(base[name], other[name]) for name in base if base[name] != other[name]}


def draft(name):
    """The facts as root, and what another user finds instead."""
    with tempfile.TemporaryDirectory() as folder:
        tree = lay_out(name, os.path.join(folder, name))
        as_root = gathered(GoldenHost(name, tree))
        as_user = gathered(GoldenHost(name, tree, as_root=False))
    return {"root": as_root, "user": differing(as_root, as_user)}


if __name__ == "__main__":
    json.dump(draft(sys.argv[1]), sys.stdout, indent=2)
    sys.stdout.write("\n")
