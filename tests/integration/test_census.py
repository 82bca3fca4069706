# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Both modules that go through the table, as Ansible runs them: in which network namespace, and with which rights."""

from __future__ import annotations

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
# Udp entries of entries.py have 600 seconds.
SHORTER = {"timeouts": {"udp": 60}}


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
def powerless(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python that runs modules, as nobody, where nobody may see it; modules come to it through a pipe."""
    script = tmp_path_factory.mktemp("powerless") / "python"
    ask = [machine.python, "-c", "import sys; print(sys.base_prefix, *sys.version_info[:2])"]
    prefix, *version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all env LD_LIBRARY_PATH=/mnt/lib"
    script.write_text(
        "#!/bin/sh\n"
        f"""exec unshare --mount sh -c 'mount --bind {prefix} /mnt && cd / && exec {nobody} "$@"' """
        f"""sh /mnt/bin/python{".".join(version)} "$@"\n"""
    )
    script.chmod(0o755)
    return str(script)


def test_without_root(machine: Machine, powerless: str, tmp_path: Path, held: Callable[[int], int], named: str) -> None:
    process = held(3)
    options: list[dict[str, Any]] = [{}, {"namespace": str(process)}, {"namespace": named}]
    said = machine.tasks(
        tmp_path,
        [{module: each} for module in (CENSUS, EXPIRE) for each in options],
        ANSIBLE_PYTHON_INTERPRETER=powerless,
        ANSIBLE_PIPELINING="1",
        ANSIBLE_REMOTE_TEMP="/tmp",
    )
    refused = (
        "the kernel refuses the use of ctnetlink{}: expected CAP_NET_ADMIN, found a user or a container without it; "
    )
    remedy = "run as root, with become: true"
    unseen = f"namespace: '{process}' is not among those that this user may look at"
    closed = f"namespace: {named!r} cannot be entered (Operation not permitted)"
    elsewhere = [f"{lack}: run as root with CAP_SYS_ADMIN, with become: true" for lack in (unseen, closed)]
    assert [found["msg"] for found in said] == [
        refused.format(" and of /proc/net/nf_conntrack") + remedy,
        *elsewhere,
        refused.format("") + remedy,
        *elsewhere,
    ]
    assert all(found["failed"] for found in said)


def test_who_may_only_read_files_reads_the_one_of_proc(machine: Machine, tmp_path: Path, named: str) -> None:
    inside = ("ip", "netns", "exec", named, *NOBODY, machine.python)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    ask = """
import json, sys
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import examine, host
options = dict(sample=0, group_by=["source"], top=10, prefix_lengths={}, anonymise=False, timeout_profile="server", timeouts={})
print(json.dumps(examine.examine(host.Host(), examine.read_options(options), None)))
"""
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    done = subprocess.run([*inside, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert '"source": "/proc/net/nf_conntrack"' in done.stdout
    assert '"total": 5' in done.stdout


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
