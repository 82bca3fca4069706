# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""apply.sh on machines of BusyBox alone, each a tree in a chroot whose /proc/sys is plain files: what is live is set in the safe
order, read back, and given back; killed in the midst of it; beside another run; on a full disk. Needs root.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import read
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import script
from ansible_collections.headroom.netfilter.tests.integration.programs import program
from ansible_collections.headroom.netfilter.tests.unit import golden

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KEYS = "proc/sys/net/netfilter/nf_conntrack_"
HASHSIZE = "sys/module/nf_conntrack/parameters/hashsize"
SIZED = 49152
MAIN = 'main "$@"\n'
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
LOG = "/log"
# Each value as it is set, one after the other.
LOGGED = f'set_value() {{\n    echo "${{1##*/}} $2" >>{LOG}\n    set_one "$@"\n}}\n'
# BusyBox's own shell runs what BusyBox has, whatever is in PATH.
NEVER_THE_KERNELS = 'modprobe() { /bin/modprobe "$@"; }\n'
MODPROBE = """#!/bin/sh
echo "modprobe $*" >>/log
mkdir -p /sys/module/nf_conntrack/parameters /proc/sys/net/netfilter
echo 'nf_conntrack 1 0 - Live 0' >/proc/modules
hashsize=$(sed -n 's/^options nf_conntrack hashsize=//p' /etc/modprobe.d/*.conf 2>/dev/null | tail -n 1)
echo "${hashsize:-65536}" >/sys/module/nf_conntrack/parameters/hashsize
echo "$((${hashsize:-8192} * 8))" >/proc/sys/net/netfilter/nf_conntrack_max
echo 1024 >/proc/sys/net/netfilter/nf_conntrack_expect_max
echo 0 >/proc/sys/net/netfilter/nf_conntrack_count
echo 432000 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
"""


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Path]:
    """A golden host with BusyBox in it, and a modprobe that makes the keys of a module."""

    def make(name: str) -> Path:
        root = Path(golden.lay_out(name, str(tmp_path / name)))
        shell = program("busybox", "busybox-static")
        for folder in ("bin", "dev", "run", "tmp", "var/lib"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        # Links of golden hosts lead where they are laid out.
        shutil.copy(shell.path, root / "bin/busybox")
        for applet in subprocess.check_output([shell.path, "--list"], text=True).split():
            if applet not in ("busybox", "modprobe", "logger"):
                (root / "bin" / applet).symlink_to("busybox")
        for applet, text in {"modprobe": MODPROBE, "logger": f'#!/bin/sh\necho "logger $*" >>{LOG}\n'}.items():
            (root / "bin" / applet).write_text(text)
            (root / "bin" / applet).chmod(0o755)
        add(root, "flock", "util-linux")
        os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        return root

    return make


def add(root: Path, name: str, package: str) -> None:
    """A program with its libraries."""
    path = program(name, package).path
    (root / "bin" / name).unlink(missing_ok=True)
    shutil.copy(path, root / "bin" / name)
    for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", path], text=True)):
        target = root / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(library, target)


def text_of(**fields: object) -> str:
    return script(read({f"conntrack_{name}": value for name, value in fields.items()}))


def with_setter(text: str, setter: str) -> str:
    """A script with another set_value, in which set_one is its own."""
    return text.split(MAIN)[0].replace("\nset_value() {\n", "\nset_one() {\n") + setter + NEVER_THE_KERNELS + MAIN


def run(root: Path, *options: str, text: str = "", **fields: object) -> subprocess.CompletedProcess[str]:
    (root / "apply.sh").write_text(text or with_setter(text_of(**fields), LOGGED))
    words = ["chroot", str(root), "/bin/sh", "/apply.sh", *options]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=PLAIN)


def told(root: Path) -> list[str]:
    log = root / LOG[1:]
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def value(root: Path, name: str) -> int:
    return int((root / (HASHSIZE if name == "hashsize" else KEYS + name)).read_text())


def state(root: Path) -> dict[str, tuple[int, str | bytes]]:
    """All that can be changed: files and values."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for folder in ("etc", "proc/sys", "sys/module", "var"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(root))] = (0, os.readlink(path))
            elif path.is_file():
                found[str(path.relative_to(root))] = (path.stat().st_mode, path.read_bytes())
    return found


def test_what_rises_rises_in_the_safe_order(machine: Callable[[str], Path]) -> None:
    root = machine("debian12")
    before = state(root)
    done = run(root, "--check")
    assert (done.returncode, state(root)) == (3, before)
    done = run(root)
    assert (done.returncode, done.stderr) == (0, "")
    order = [line.split()[0] for line in told(root)]
    assert order[:3] == ["hashsize", "nf_conntrack_max", "nf_conntrack_expect_max"]
    assert all("timeout" in name for name in order[3:])
    assert (value(root, "max"), value(root, "hashsize")) == (SIZED, SIZED)
    assert value(root, "tcp_timeout_established") == 7440
    done = run(root)
    assert (done.returncode, told(root)) == (0, [])
    assert "nothing to do" in done.stdout
    assert run(root, "--status").returncode == 0
    done = run(root, "--undo")
    assert (done.returncode, done.stderr) == (0, "")
    assert state(root) == before
    order = [line.split()[0] for line in told(root)]
    assert order[-3:] == ["nf_conntrack_expect_max", "nf_conntrack_max", "hashsize"]


def test_what_falls_falls_the_other_way_round(machine: Callable[[str], Path]) -> None:
    root = machine("debian12")
    run(root, max=200000, expected_connections=100000)
    told(root)
    done = run(root, max=30000, max_floor=1000, shrink=True)
    assert (done.returncode, done.stderr) == (0, "")
    order = [line.split()[0] for line in told(root)]
    assert order == ["nf_conntrack_expect_max", "nf_conntrack_max", "hashsize"]
    (root / (KEYS + "count")).write_text("20000\n")
    done = run(root, max=10000, max_floor=1000, shrink=True)
    assert done.returncode == 2
    assert "limit 10000: 20000 flows are in use now" in done.stderr
    # What is given back is no less than is in use either.
    (root / (KEYS + "count")).write_text("40000\n")
    (root / (KEYS + "max")).write_text("45000\n")
    done = run(root, "--undo")
    assert done.returncode == 1
    assert "max: 40000 flows are in use" in done.stderr
    assert value(root, "max") == 45000
    (root / (KEYS + "count")).write_text("100\n")
    assert run(root, "--undo").returncode == 0


def test_a_module_that_is_not_loaded_is_loaded_with_its_buckets(machine: Callable[[str], Path]) -> None:
    root = machine("debian11_loadable")
    done = run(root)
    assert (done.returncode, done.stderr) == (0, "")
    assert told(root)[0] == "modprobe nf_conntrack"
    assert value(root, "max") == value(root, "hashsize")
    assert value(root, "tcp_timeout_established") == 7440
    done = run(root)
    assert (done.returncode, told(root)) == (0, [])


def test_a_boot_sizes_what_is_live_and_never_fails(machine: Callable[[str], Path]) -> None:
    root = machine("debian12")
    before = state(root)
    done = run(root, "--boot")
    changed = {path for path, what in state(root).items() if before.get(path) != what}
    assert (done.returncode, changed) == (0, {KEYS + "max", KEYS + "expect_max", HASHSIZE})
    assert (value(root, "max"), value(root, "hashsize")) == (SIZED, SIZED)
    assert f"logger -t headroom.netfilter -- limit {SIZED}, {SIZED} buckets, as this machine's memory has it" in told(
        root
    )
    assert "nothing to do" in run(root, "--boot").stderr


@pytest.mark.parametrize(("mebibytes", "limit"), [(256, 12288), (1024, 49152), (16384, 524288)])
def test_an_image_is_right_for_the_machine_that_boots_it(
    mebibytes: int, limit: int, machine: Callable[[str], Path]
) -> None:
    """Its builder named the buckets of a load, and left the limit to each boot."""
    root = machine("debian12")
    (root / "etc/modprobe.d/nf_conntrack.conf").write_text("options nf_conntrack hashsize=65536\n")
    (root / HASHSIZE).write_text("65536\n")
    (root / (KEYS + "max")).write_text(f"{8 * 65536}\n")
    (root / "proc/meminfo").write_text(f"MemTotal: {mebibytes * 1024} kB\n")
    done = run(root, "--boot")
    assert (done.returncode, value(root, "max")) == (0, limit), done.stderr
    assert value(root, "hashsize") == max(limit, 65536)


def emptied(root: Path) -> None:
    (root / "proc/meminfo").write_text("")


def tied(root: Path) -> None:
    (root / "proc/sys/net/core/netdev_max_backlog").unlink()


def full(root: Path) -> None:
    (root / (KEYS + "count")).write_text("900000\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (emptied, "how much memory there is is not known; all is left as it is"),
        (tied, "this is not the first network namespace"),
        (full, "900000 flows are in use now"),
    ],
)
def test_a_boot_leaves_alone_what_is_not_clear(
    harm: Callable[[Path], None], said: str, machine: Callable[[str], Path]
) -> None:
    root = machine("debian12")
    harm(root)
    before = state(root)
    done = run(root, "--boot")
    assert (done.returncode, state(root)) == (0, before)
    assert said in done.stderr


def test_killed_between_values(machine: Callable[[str], Path]) -> None:
    root = machine("debian12")
    before = state(root)
    spare = root.with_name("spare")
    subprocess.run(["cp", "-a", root, spare], check=True)
    text = text_of()
    for at in range(1, 12, 2):
        kill = f'set_value() {{\n    echo x >>{LOG}\n    [ "$(wc -l <{LOG})" -lt {at} ] || kill -9 $$\n    set_one "$@"\n}}\n'
        done = run(root, text=with_setter(text, kill))
        if done.returncode == 0:
            break
        assert done.returncode == -9
        told(root)
        if at % 4 == 1:
            done = run(root)
            assert (done.returncode, value(root, "max"), value(root, "tcp_timeout_established")) == (0, SIZED, 7440)
        assert run(root, "--undo").returncode == 0
        assert state(root) == before
        told(root)
    assert at > 5


@pytest.mark.parametrize("flock", [True, False], ids=["flock", "mkdir"])
def test_one_at_a_time(flock: bool, machine: Callable[[str], Path]) -> None:
    root = machine("debian12")
    before = state(root)
    hold = "exec 9>>/run/headroom.netfilter.lock; flock -n 9; echo ready; exec sleep 20"
    if not flock:
        (root / "bin/flock").unlink()
        hold = "mkdir /run/headroom.netfilter.lock.d; echo $$ >/run/headroom.netfilter.lock.d/pid; echo ready; exec sleep 20"
    with subprocess.Popen(["chroot", str(root), "/bin/sh", "-c", hold], stdout=subprocess.PIPE, env=PLAIN) as holder:
        assert holder.stdout
        holder.stdout.readline()
        done = run(root, text=text_of().replace("LOCK_SECONDS='60'", "LOCK_SECONDS='1'"))
        assert (done.returncode, state(root)) == (1, before)
        assert "another change of this host is on its way" in done.stderr
        holder.kill()
    # What was killed holds nothing.
    assert run(root).returncode == 0


def test_another_user_is_told(machine: Callable[[str], Path]) -> None:
    root = machine("debian12")
    (root / "apply.sh").write_text(text_of())
    command = ["chroot", "--userspec=1000:1000", str(root), "/bin/sh", "/apply.sh"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=PLAIN)
    assert (done.returncode, done.stderr) == (2, "apply.sh: root is needed\n")


def test_values_of_the_machine_that_runs_this_are_read_whole() -> None:
    """Of a sysctl the kernel tells a reader by bytes the first alone, as of no file in a tree. Nothing is changed."""
    limit = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    if not limit.exists():
        pytest.skip("this kernel has no connection tracking loaded")
    for shell in (["dash"], [program("busybox", "busybox-static").path, "ash"], ["bash", "--posix"]):
        words = [*shell, "-s", "--", "--status"]
        done = subprocess.run(words, input=text_of(), capture_output=True, text=True, check=False)
        if done.returncode == 2:
            pytest.skip(done.stderr)
        assert re.search(rf"^limit +{limit.read_text().strip()} ", done.stdout, re.M), done.stdout


def test_another_network_namespace_is_left_alone() -> None:
    """On this machine, in a namespace of its own: no limit of the machine's can be written from there."""
    if not Path("/proc/sys/net/netfilter/nf_conntrack_max").exists():
        pytest.skip("this kernel has no connection tracking loaded")
    command = ["unshare", "--net", "sh", "-s", "--", "--check"]
    done = subprocess.run(command, input=text_of(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "this is not the first network namespace" in done.stderr


# In a mount namespace of its own: a disk of so many pages, all but some of them taken.
ON_A_FULL_DISK = """
set -e
mount -t tmpfs -o size=2m,mode=755 none "$1"
cp -a "$2/." "$1"
cat /dev/zero >"$1/ballast" 2>/dev/null || :
truncate -s -"$3"k "$1/ballast"
cp -a "$1/etc" "$4/before"
code=0
sh "$5" --root "$1" || code=$?
if [ "$code" -ne 0 ]; then
    diff -r --no-dereference "$4/before" "$1/etc"
    find "$1/etc" -name '.*.headroom*'
    rm "$1/ballast"
    sh "$5" --root "$1" >/dev/null
fi
sh "$5" --root "$1" --undo >/dev/null
diff -r --no-dereference "$4/before" "$1/etc"
exit "$code"
"""


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    origin = golden.lay_out("centos5", str(tmp_path / "origin"))
    for path in ("mounted", "apply.sh"):
        (tmp_path / path).mkdir() if path == "mounted" else (tmp_path / path).write_text(text_of())
    codes = []
    for room in (0, 8, 20, 36, 400):
        work = tmp_path / f"with{room}"
        work.mkdir()
        words = ["unshare", "--mount", "sh", "-c", ON_A_FULL_DISK, "sh", tmp_path / "mounted", origin, str(room), work]
        done = subprocess.run([*words, tmp_path / "apply.sh"], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        assert ("written\n" in done.stdout) == (done.returncode == 0), (room, done.stdout, done.stderr)
        assert done.returncode == 0 or done.stderr.endswith("; no file was changed\n"), done.stderr
        codes.append(done.returncode)
    assert (codes[0], codes[-1]) == (1, 0)


def test_shellcheck_has_nothing_to_say() -> None:
    words = [program("shellcheck", "shellcheck").path, "-"]
    done = subprocess.run(words, input=text_of(), capture_output=True, text=True, check=False)
    assert done.stdout == ""
