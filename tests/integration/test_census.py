# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Both modules that go through the table, as Ansible runs them: in which network namespace, and with which rights."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dump_order
import pytest
from conftest import Machine, inode
from test_elsewhere import NOBODY

CENSUS, EXPIRE = "headroom.netfilter.conntrack_census_info", "headroom.netfilter.conntrack_expire"
# Entries of entries.py have a day.
SHORTER = {"timeouts": {"udp": 60}, "most": 0}


def test_namespaces_by_name_process_and_inode(
    machine: Machine, tmp_path: Path, held: Callable[[int], int], named: str
) -> None:
    process = held(7)
    places = {named: 5, str(process): 7, str(inode(f"/run/netns/{named}")): 5, str(inode(f"/proc/{process}/ns/net")): 7}
    census = [{CENSUS: {"namespace": place, "group_by": ["protocol+source"]}} for place in places]
    checked = [{EXPIRE: {"namespace": place, **SHORTER}, "check_mode": True} for place in places]
    expired = [{EXPIRE: {"namespace": place, **SHORTER}} for place in (named, str(process), named)]
    said = machine.tasks(tmp_path, [*census, *checked, *expired])
    for found, count in zip(said, places.values()):
        assert (found["source"], found["total"], found["exact"]) == ("ctnetlink", count, True), found
        (group,) = found["groupings"][0]["top"]
        assert (group["protocol"], group["source"], group["entries"]) == ("udp", "10.255.0.1", count)
        assert (found["changed"], found["failed"]) == (False, False)
    assert [found["shortened"] for found in said[4:8]] == [5, 7, 5, 7]
    assert [(found["shortened"], found["changed"]) for found in said[8:]] == [(5, True), (7, True), (0, False)]


def test_a_namespace_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    wrong = ["no-such-name", "4194999", "../netns/x", "1 2"]
    said = machine.tasks(tmp_path, [{module: {"namespace": name}} for module in (CENSUS, EXPIRE) for name in wrong])
    for found, name in zip(said, wrong * 2):
        assert found["failed"]
        assert found["msg"] == (
            f"namespace: {name!r} is not there; expected a name that ip netns lists, the number of a process, "
            "or an inode as ansible_facts.conntrack.namespaces has it"
        )


@pytest.fixture
def as_nobody(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Settings of Ansible by which the Python that runs modules is nobody's, where nobody may see it, with these capabilities
    and no others; modules come to it through a pipe."""
    ask = [machine.python, "-c", "import sys; print(sys.base_prefix, *sys.version_info[:2])"]
    prefix, *version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()

    def settings(*capabilities: str) -> dict[str, str]:
        script = tmp_path_factory.mktemp("nobody") / "python"
        own = "".join(f",+{name}" for name in capabilities)
        nobody = (
            "setpriv --reuid=65534 --regid=65534 --clear-groups "
            f"--inh-caps=-all{own} --ambient-caps=-all{own} --bounding-set=-all{own} env LD_LIBRARY_PATH=/mnt/lib"
        )
        script.write_text(
            "#!/bin/sh\n"
            f"""exec unshare --mount sh -c 'mount --bind {prefix} /mnt && cd / && exec {nobody} "$@"' """
            f"""sh /mnt/bin/python{".".join(version)} "$@"\n"""
        )
        script.chmod(0o755)
        return {
            "ANSIBLE_PYTHON_INTERPRETER": str(script),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_REMOTE_TEMP": "/tmp",
        }

    return settings


NO_CTNETLINK = (
    "the kernel refuses the use of ctnetlink{}: expected CAP_NET_ADMIN, found a user or a container without it; "
    "run as root, with become: true"
)
UNSEEN = (
    "namespace: {!r} is not among those that this user may look at: expected CAP_SYS_PTRACE to look at processes "
    "of others, and CAP_SYS_ADMIN to enter what they are in; run as root, with become: true"
)
CLOSED = "namespace: {!r} cannot be entered (Operation not permitted): expected CAP_SYS_ADMIN; run as root, with become: true"
READABLE = " and of /proc/net/nf_conntrack"


@pytest.mark.on_one_core
@pytest.mark.parametrize(
    ("capabilities", "census", "expire"),
    [
        ((), [NO_CTNETLINK.format(READABLE), UNSEEN, CLOSED], [NO_CTNETLINK.format(""), UNSEEN, CLOSED]),
        (("net_admin",), [None, UNSEEN, CLOSED], [None, UNSEEN, CLOSED]),
        (("net_admin", "sys_admin"), [None, UNSEEN, None], [None, UNSEEN, None]),
        (("net_admin", "sys_admin", "sys_ptrace"), [None, None, None], [None, None, None]),
        (
            ("sys_admin",),
            [NO_CTNETLINK.format(READABLE), UNSEEN, NO_CTNETLINK.format(READABLE)],
            [NO_CTNETLINK.format(""), UNSEEN, NO_CTNETLINK.format("")],
        ),
    ],
    ids=["none", "net_admin", "to enter", "to find", "no net_admin"],
)
def test_without_root_it_takes_these_capabilities_and_names_the_one_that_lacks(
    machine: Machine,
    as_nobody: Callable[..., dict[str, str]],
    tmp_path: Path,
    held: Callable[[int], int],
    named: str,
    capabilities: tuple[str, ...],
    census: list[str | None],
    expire: list[str | None],
) -> None:
    process = str(held(3))
    places = [None, process, named]
    options: list[dict[str, Any]] = [{"namespace": place} if place else {} for place in places]
    tasks = [{CENSUS: each} for each in options] + [{EXPIRE: {**each, **SHORTER}} for each in options]
    said = machine.tasks(tmp_path, tasks, **as_nobody(*capabilities))
    for found, wrong, place in zip(said, [*census, *expire], places * 2):
        assert found.get("msg") == (wrong.format(place) if wrong else None), found
        assert found["failed"] is bool(wrong)
    for number, place in enumerate(places[1:], 1):
        count = {process: 3, named: 5}[place]
        if not census[number]:
            assert (said[number]["source"], said[number]["total"]) == ("ctnetlink", count)
            assert (said[number + 3]["shortened"], said[number + 3]["complete"]) == (count, True)


def test_who_may_only_read_files_reads_the_one_of_proc(machine: Machine, tmp_path: Path, named: str) -> None:
    inside = ("ip", "netns", "exec", named, *NOBODY, machine.python)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    ask = """
import json, sys
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import examine
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
options = dict(sample=0, group_by=["source"], top=10, prefix_lengths={}, anonymise=False, timeout_profile="server", timeouts={})
print(json.dumps(examine.examine(Host(), examine.read_options(options), None)))
"""
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    done = subprocess.run([*inside, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert '"source": "/proc/net/nf_conntrack"' in done.stdout
    assert '"total": 5' in done.stdout


@pytest.mark.on_one_core
@pytest.mark.parametrize("again", range(3))
def test_entries_are_told_in_an_order_of_chance(machine: Machine, again: int) -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, dump_order.__file__],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _shuffled() -> list[int]:
    order = list(range(dump_order.COUNT))
    random.Random(1).shuffle(order)
    return order


@pytest.mark.on_one_core
@pytest.mark.parametrize(
    ("order", "good"),
    [
        (_shuffled(), True),
        (list(range(dump_order.COUNT)), False),
        (list(reversed(range(dump_order.COUNT))), False),
        # As buckets in the order of the last bits of the port would be.
        (sorted(_shuffled(), key=lambda number: number % dump_order.PER_SOURCE % 16), False),
        # One tenth is told in its order, behind all the rest.
        (_shuffled()[: -dump_order.COUNT // 10] + sorted(_shuffled()[-dump_order.COUNT // 10 :]), False),
        # One source comes first.
        (sorted(_shuffled(), key=lambda number: number >= dump_order.PER_SOURCE), False),
    ],
    ids=["of chance", "as made", "backwards", "by the last digits", "a tenth as made", "one source first"],
)
def test_an_order_is_told_from_chance(order: list[int], good: bool) -> None:
    assert all(figure.good for figure in dump_order.figures(order)) == good


WITHIN = """
import atexit, json, os, sys, threading, time
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

def opened():
    return sorted(os.listdir("/proc/self/fd"))

def outcome(work, path=sys.argv[1], seconds=600.0):
    try:
        return Host().within(path, work, seconds)
    except Exception as error:
        return [type(error).__name__, str(error)]

def where():
    # More than a pipe holds.
    return [os.readlink("/proc/self/ns/net"), os.getpid(), "x" * 100000]

def fail():
    raise ValueError("no such thing")

# A process that lives on has threads, text that is not yet written, and more to do at its end.
atexit.register(lambda: print("end"))
sys.stdout.write("begun ")
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
before = where(), opened()
found = [outcome(work) for work in (where, fail, lambda: os._exit(0), lambda: sys.exit(3))]
found.append(outcome(lambda: time.sleep(3600), seconds=1.0))
found.append(outcome(where, "/etc/passwd"))
found.append(outcome(where, "/nowhere"))
assert (where(), opened()) == before
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(json.dumps([before[0], found]))
"""


def test_what_is_done_elsewhere_is_done_by_a_child(machine: Machine, held: Callable[[int], int]) -> None:
    process = held(1)
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    command = [machine.python, "-c", WITHIN, f"/proc/{process}/ns/net"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    word, _blank, told = done.stdout.partition(" ")
    assert (word, told.splitlines()[1:]) == ("begun", ["end"])
    (own, number, _text), (there, *wrong) = json.loads(told.splitlines()[0])
    assert there[0] == os.readlink(f"/proc/{process}/ns/net") != own
    assert there[1] != number
    failed, *ended, late, no_namespace, nowhere = wrong
    assert failed[0] == "RuntimeError"
    assert failed[1].endswith("ValueError: no such thing\n")
    assert ended == [["ChildProcessError", "[Errno 10] what went there ended without an answer"]] * 2
    assert late == ["TimeoutError", "[Errno 110] what went there gave no answer in 1 s"]
    assert no_namespace == ["OSError", "[Errno 22] Invalid argument: '/etc/passwd'"]
    assert nowhere == ["FileNotFoundError", "[Errno 2] No such file or directory: '/nowhere'"]
