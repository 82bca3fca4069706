# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A stage on which programs that set keys of connection tracking run for real: namespaces of their own, this machine's files below
theirs, and in place of the kernel's keys plain files, so that whatever they write is seen and moves nothing.

Needs root. Run as a program, it is what acts on the stage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
COLLECTIONS = HERE.parents[5]
KEYS = Path("/proc/sys/net/netfilter")
HASHSIZE = Path("/sys/module/nf_conntrack/parameters/hashsize")
# Seconds after which what has to come will not.
PATIENCE = 60
# Of a file's folder that is a link on this machine (/lib), the link stays. The key without netfilter in its name, and the buckets,
# are one thing each under two names; neither is there in another network namespace than the first.
SCRIPT = """
work=$1 root=$2 collections=$3; shift 3
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/scratch" "$work/all" "$work/net" "$work/module"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" overlay "$work/all"
[ "$root" = / ] || tar -C "$root" -c . | tar -C "$work/all" -x --keep-directory-symlink
mount -t proc proc "$work/all/proc"
mount -t sysfs sysfs "$work/all/sys"
mount -t cgroup2 cgroup2 "$work/all/sys/fs/cgroup" || true
mount --rbind /dev "$work/all/dev"
for folder in run var/lib; do mount -t tmpfs tmpfs "$work/all/$folder"; done
mount --bind "$collections" "$work/all/mnt"
ip link set lo up
ip link add eth0 up type veth peer name eth1
cp -r "$work/all/proc/sys/net/." "$work/net" 2>/dev/null || true
cp -r "$work/all/sys/module/nf_conntrack/parameters/." "$work/module"
chmod -R u+w "$work/net" "$work/module"
ln -f "$work/net/netfilter/nf_conntrack_max" "$work/net/nf_conntrack_max"
ln -f "$work/module/hashsize" "$work/net/netfilter/nf_conntrack_buckets"
mount --bind "$work/net" "$work/all/proc/sys/net"
mount --bind "$work/module" "$work/all/sys/module/nf_conntrack/parameters"
exec chroot "$work/all" "$@"
"""
# iptables is a link that the package makes when it is set up.
LINKS = {
    f"/usr/sbin/{name}{end}": "xtables-nft-multi"
    for name in ("iptables", "ip6tables")
    for end in ("", "-save", "-restore")
}


class Seen(NamedTuple):
    before: dict[str, str]  # by sysctl's name without its folder, or hashsize
    after: dict[str, str]
    said: dict[str, int | None]  # what the collection says that they are set to
    output: str

    @property
    def written(self) -> dict[str, int]:
        return {key: int(value) for key, value in self.after.items() if value != self.before.get(key)}


def seen(
    root: Path,
    command: list[str],
    files: dict[str, str],
    until: str | None = None,
    values: dict[str, int] | None = None,
) -> Seen:
    """What a program does whose package was unpacked into ``root``, with these files, on keys with these values: until it ends, or
    for one that goes on until it writes something to its output."""
    job = {"command": command, "files": files, "until": until, "values": values or {}}
    apart = ["unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "--kill-child"]
    with tempfile.TemporaryDirectory() as work:
        # The machine's own Python, since others may be in a mount of their own.
        actor = ["/usr/bin/python3", str("/mnt" / HERE.relative_to(COLLECTIONS)), json.dumps(job)]
        words = [*apart, "sh", "-ec", SCRIPT, "sh", work, str(root), str(COLLECTIONS), *actor]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=3 * PATIENCE)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Seen(**json.loads(done.stdout.splitlines()[-1]))


def act(command: list[str], files: dict[str, str], until: str | None, values: dict[str, int]) -> Seen:
    for path, target in LINKS.items():
        if not os.path.lexists(path):
            os.symlink(target, path)
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text)
    for key, value in values.items():
        (HASHSIZE if key == HASHSIZE.name else KEYS / f"nf_conntrack_{key}").write_text(f"{value}\n")
    before = now()
    output = Path("/run/output")
    with output.open("wb") as opened:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=opened, stderr=opened)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and (until is None or until not in output.read_text(errors="replace")):
        assert time.monotonic() < deadline, output.read_text(errors="replace")[-2000:]
        time.sleep(0.05)
    said = output.read_text(errors="replace")
    assert (process.poll() == 0) if until is None else (process.poll() is None), said[-2000:]
    after = now()
    keys = owners()
    process.kill()
    return Seen(before, after, keys, said[-2000:])


def now() -> dict[str, str]:
    found = {path.name: path.read_text().strip() for path in KEYS.glob("nf_conntrack_*")}
    del found["nf_conntrack_buckets"]
    return {**found, HASHSIZE.name: HASHSIZE.read_text().strip()}


def owners() -> dict[str, int | None]:
    """What the collection says that is set after a boot, and to what."""
    sys.path.insert(0, str(COLLECTIONS))
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

    found: list[dict[str, Any]] = gather(Host(), ["owners"])["owners"]
    # Which yields to sysctl.d where a file there says something.
    lasting = [owner for owner in found if owner["at_boot"]]
    return {key.rpartition(".")[2]: value for owner in lasting for key, value in owner["keys"].items()}


if __name__ == "__main__":
    print(json.dumps(act(**json.loads(sys.argv[1]))._asdict()))
