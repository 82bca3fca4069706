# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Boots without systemd: the order of scripts is that of the real OpenRC, insserv and startpar, and what scripts apply is what a
real shell has them apply.

Each boot is of a tree of its own, in a chroot with a mount namespace: nothing of this machine is read, written or started.
ORACLE_LAYOUTS and ORACLE_SEED ask for more, and for others. Needs root.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.inits import init
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.started import started
from ansible_collections.headroom.netfilter.tests.integration.programs import Program, program
from ansible_collections.headroom.netfilter.tests.unit import inits

LAYOUTS = int(os.environ.get("ORACLE_LAYOUTS", "3"))
SEED = int(os.environ.get("ORACLE_SEED", "12"))
SEEDS = [SEED * 1000003 + number for number in range(LAYOUTS)]
LOG = "log"
# In place of what would change a kernel.
SAYS = '#!/bin/sh\necho "{0} $*" >> /' + LOG + "\n"
NAMES = [f"s{number}" for number in range(9)]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def a_root(tmp_path: Path) -> Callable[..., Path]:
    """A tree with a shell and some programs."""

    def make(*programs: Program) -> Path:
        root = tmp_path / "root"
        shell = program("busybox", "busybox-static")
        for folder in ("bin", "sbin", "dev", "proc", "etc", "run", "tmp", "usr/bin", "usr/sbin"):
            (root / folder).mkdir(parents=True)
        for one in programs:
            assert one.root != Path("/"), f"{one.path} is this machine's own"
            shutil.copytree(one.root, root, symlinks=True, dirs_exist_ok=True)
            libraries(one, root)
        shutil.copy(shell.path, root / "bin/busybox")
        for name in subprocess.check_output([shell.path, "--list"], text=True).split():
            if not any((root / place / name).exists() for place in ("bin", "sbin", "usr/bin", "usr/sbin")):
                (root / "bin" / name).symlink_to("busybox")
        # BusyBox's own shell runs what BusyBox has, whatever is in PATH.
        dash = program("dash", "dash")
        (root / "bin/sh").unlink()
        shutil.copy(dash.path, root / "bin/sh")
        libraries(dash, root)
        for name in ("sysctl", "modprobe", "modules-load"):
            for place in ("bin", "sbin", "usr/bin", "usr/sbin"):
                (root / place / name).unlink(missing_ok=True)
                put(root, f"{place}/{name}", SAYS.format(name))
        os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        return root

    return make


def libraries(one: Program, root: Path) -> None:
    places = ("bin", "sbin") if one.root != Path("/") else ()
    programs = [str(path) for place in places for path in one.root.rglob(f"{place}/*") if not path.is_symlink()]
    told = subprocess.run(
        ["ldd", one.path, *programs], capture_output=True, text=True, env=one.environment, check=False
    ).stdout
    for path in re.findall(r"(/\S+) \(0x", told):
        target = (
            root / path.removeprefix(str(one.root)).lstrip("/") if one.root != Path("/") else root / path.lstrip("/")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(path, target)


def put(root: Path, path: str, text: str) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if text.startswith("-> "):
        target.symlink_to(text[3:])
    else:
        target.write_text(text)
        target.chmod(0o755)


def within(root: Path, *command: str) -> str:
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", "chroot", str(root)]
    plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    done = subprocess.run([*apart, *command], capture_output=True, text=True, env=plain, check=False, timeout=120)
    return done.stdout + done.stderr


def logged(root: Path) -> list[str]:
    log = root / LOG
    return log.read_text().splitlines() if log.exists() else []


# The order of scripts.


def body(chance: random.Random, name: str) -> str:
    return f"echo {name} begins >> /{LOG}\n\tsleep 0.{chance.randrange(1, 9)}\n\techo {name} ends >> /{LOG}"


def as_run(root: Path, output: str) -> int:
    """Every order that is told is the one that was; how many there are."""
    boot = started(Host(str(root)))
    log = logged(root)
    of_names = [script for script in boot.scripts if script.path.rpartition("/")[2] in NAMES]
    named = {script.path.rpartition("/")[2] for script in of_names}
    assert named == {line.split()[0] for line in log}, output
    told = 0
    for first in of_names:
        for second in of_names:
            one, other = (script.path.rpartition("/")[2] for script in (first, second))
            if one != other and boot.precedes(first, second):
                told += 1
                assert log.index(f"{one} ends") < log.index(f"{other} begins"), (one, other, log)
    return told


@pytest.mark.parametrize("parallel", ["YES", "NO"])
@pytest.mark.parametrize("seed", SEEDS)
def test_openrc(a_root: Callable[..., Path], seed: int, parallel: str) -> None:
    """Also side by side, where only what services need makes an order."""
    chance = random.Random(seed)
    root = a_root(program("openrc", "openrc"))
    # It would mount what the chroot has.
    put(root, "/lib/rc/sh/init.sh", "#!/bin/sh\nexit 0\n")
    put(root, "/etc/inittab", inits.INITTAB)
    put(root, "/sbin/init", "-> /bin/busybox")
    put(root, "/etc/rc.conf", f'rc_parallel="{parallel}"\n')
    shuffled = chance.sample(NAMES, len(NAMES))
    for place, name in enumerate(shuffled):
        lines = [f"provide {chance.choice(['clock', 'net'])}"] if chance.random() < 0.3 else []
        earlier, later = shuffled[:place], shuffled[place + 1 :]
        for _time in range(chance.randrange(3)):
            if earlier:
                others = chance.sample(earlier, min(len(earlier), chance.randrange(1, 3)))
                lines.append(f"{chance.choice(['need', 'use', 'want', 'after'])} {' '.join(others)}")
        if later and chance.random() < 0.4:
            lines.append(f"before {chance.choice(later)}")
        if chance.random() < 0.3:
            lines += ["if false; then", f"\tafter {chance.choice(NAMES)}", "fi"]
        script = inits.depend(f"start() {{\n\t{body(chance, name)}\n}}\n", *lines)
        put(root, f"/etc/init.d/{name}", script)
        if chance.random() < 0.8:
            put(
                root,
                f"/etc/runlevels/{chance.choice(['sysinit', 'boot', 'boot', 'default'])}/{name}",
                f"-> /etc/init.d/{name}",
            )
    for level in ("sysinit", "boot", "default"):
        (root / "etc/runlevels" / level).mkdir(parents=True, exist_ok=True)
    output = within(root, "/bin/sh", "-c", "openrc sysinit; openrc boot; openrc default")
    as_run(root, output)


@pytest.mark.parametrize("seed", SEEDS)
def test_insserv_and_startpar(a_root: Callable[..., Path], seed: int) -> None:
    chance = random.Random(seed)
    root = a_root(program("insserv", "insserv"), program("startpar", "startpar"))
    for path, text in inits.DEVUAN.items():
        if not re.search("kmod|procps|rc.local", path):
            put(root, path, text)
    put(root, "/sbin/init", "")
    shuffled = chance.sample(NAMES, len(NAMES))
    for place, name in enumerate(shuffled):
        required = " ".join(chance.sample(shuffled[:place], min(place, chance.randrange(3))))
        wanted = " ".join(chance.sample(shuffled[:place], min(place, chance.randrange(2))))
        header = {"Provides": name, "Required-Start": required, "Required-Stop": "", "Should-Start": wanted}
        header.update({"Default-Start": "S", "Default-Stop": "", "Short-Description": name})
        said = "".join(f"# {key}: {value}\n" for key, value in header.items())
        text = f"#!/bin/sh\n### BEGIN INIT INFO\n{said}### END INIT INFO\n{body(chance, name)}\n"
        put(root, f"/etc/init.d/{name}", text)
    for level in "0123456S":
        (root / f"etc/rc{level}.d").mkdir(exist_ok=True)
    (root / "etc/insserv/overrides").mkdir(parents=True, exist_ok=True)
    output = within(root, "/bin/sh", "-c", f"for one in {' '.join(shuffled)}; do insserv -d $one; done")
    put(root, "/etc/init.d/.depend.start", "TARGETS =\n")
    for path in (".depend.boot", ".depend.stop"):
        assert (root / "etc/init.d" / path).exists(), output
    output += within(root, "/bin/sh", "-c", "cd /etc/init.d && startpar -p 4 -t 20 -T 3 -M boot -P N -R S")
    told = as_run(root, output)
    # One after the other all are in an order.
    put(root, "/etc/init.d/.legacy-bootordering", "")
    (root / LOG).unlink()
    within(root, "/bin/sh", "-c", "for one in /etc/rcS.d/S*; do $one start; done")
    assert as_run(root, output) == len(NAMES) * (len(NAMES) - 1) // 2 >= told


# What scripts do.

FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
BOOTS = {
    "OpenRC": (inits.GENTOO, "openrc sysinit; openrc boot; openrc default"),
    "Alpine": (inits.ALPINE, "openrc sysinit; openrc boot; openrc default"),
    "Void": (inits.VOID, "sh -c 'msg() { :; }; . /etc/runit/1'"),
    "Devuan": (inits.DEVUAN, "for one in /etc/rcS.d/S*; do sh $one start; done"),
    "Buildroot": (inits.BUILDROOT, "/etc/init.d/rcS"),
    "of one's own": (inits.RC_S, "/etc/init.d/rcS"),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", BOOTS)
def test_scripts(a_root: Callable[..., Path], name: str, seed: int) -> None:
    chance = random.Random(seed)
    tree, command = BOOTS[name]
    uses_openrc = "openrc" in command
    root = a_root(*([program("openrc", "openrc")] if uses_openrc else []))
    for path, text in tree.items():
        # The stub stays, and says what it was called with.
        if path != "/sbin/sysctl":
            put(root, path, text if text.startswith(("->", "#!")) else "#!/bin/sh\n" + text)
    if uses_openrc:
        put(root, "/lib/rc/sh/init.sh", "#!/bin/sh\nexit 0\n")
        for level in ("sysinit", "default"):
            (root / "etc/runlevels" / level).mkdir(parents=True, exist_ok=True)
    put(root, "/etc/modules-load.d/a.conf", "nf_conntrack\n")
    put(root, "/etc/modules", "")
    for folder in FOLDERS:
        for file in chance.sample(["10-a.conf", "50-b.conf", "99-conntrack.conf", "B.conf", "c.txt", ".d.conf"], 3):
            put(root, f"{folder}/{file}", "a=1\n")
    put(root, "/etc/sysctl.conf", "a=1\n")
    told, _names = init(Host(str(root))) or ({}, [])
    output = within(root, "/bin/sh", "-c", command)
    log = logged(root)
    calls = [line for line in log if line.startswith("sysctl ") and ("-p" in line or "--system" in line)]
    loads = [line for line in log if "nf_conntrack" in line or line.startswith("modules-load")]
    assert calls, output
    if told["each"]:
        found = [(line.split()[-1] if line.split()[-1] != "-p" else "/etc/sysctl.conf") for line in calls]
        # Void's are links that lead to the files, by the same names.
        names = {path.rpartition("/")[2]: path for path in told["applied"]} if name == "Void" else {}
        found = [names.get(path.rpartition("/")[2], path) for path in found]
        applied = [path for path in told["applied"] if (root / path.lstrip("/")).exists()]
        assert (found if told["ordered"] else sorted(found)) == (applied if told["ordered"] else sorted(applied))
    else:
        assert ["--system" in call for call in calls] == [True]
    if loads:
        assert (log.index(loads[0]) < log.index(calls[0])) == (told["first"] or name == "of one's own"), log
