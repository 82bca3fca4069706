# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Network namespaces of this kernel, with entries of their own. Nothing of the machine's own is changed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import inode
from test_elsewhere import NOBODY

LOOK = textwrap.dedent(
    """
    import json, os
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel, values
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.namespaces import namespaces

    host = Host()
    before = os.readlink("/proc/self/ns/net"), sorted(os.listdir("/proc/self/fd"))
    found = values.as_dict(namespaces(host, kernel.FLAVOURS["nf_conntrack"], 1000))
    assert before == (os.readlink("/proc/self/ns/net"), sorted(os.listdir("/proc/self/fd")))
    try:
        os.waitpid(-1, os.WNOHANG)
        raise SystemExit("a child is left")
    except ChildProcessError:
        pass
    print(json.dumps(dict(found, unreadable=host.unreadable)))
    """
)
Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look(request: pytest.FixtureRequest) -> Look:
    """What the modules find here, on the Python that runs them."""

    def found(*inside: str) -> dict[str, Any]:
        done = subprocess.run(
            [*inside, request.config.getoption("--target-python"), "-c", LOOK],
            env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return found


def inodes() -> set[int]:
    """Those that a process is in, or that have a name."""
    found = set()
    for path in (*Path("/proc").glob("[0-9]*/ns/net"), *Path("/run/netns").glob("*")):
        with contextlib.suppress(OSError):
            found.add(inode(str(path)))
    return found


def by_inode(found: dict[str, Any], number: int) -> dict[str, Any]:
    return next((each for each in found["namespaces"] if each["inode"] == number), {})


def own(found: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in found["namespaces"] if each["own"])


def test_one_with_a_process(look: Look, held: Callable[[int], int]) -> None:
    process = held(7)
    known = inodes()
    found = look()
    other = by_inode(found, inode(f"/proc/{process}/ns/net"))
    comm = Path(f"/proc/{process}/comm").read_text().strip()
    assert (other["name"], other["own"]) == (f"pid {process} ({comm})", False)
    assert (other["count"], other["max"], other["usage"]) == (7, 1000, 0.007)
    assert (other["drop"], other["early_drop"], other["timeouts"]["udp"]) == (0, 0, 17)
    assert (own(found)["inode"], own(found)["timeouts"]) == (inode("/proc/self/ns/net"), {})
    # Those of others may come and go.
    then = inodes()
    assert 2 <= len(known & then) <= found["netns_total"] <= len(known | then)


def test_an_idle_one_is_only_counted(look: Look, held: Callable[[int], int]) -> None:
    process = held(0)
    found = look()
    assert inode(f"/proc/{process}/ns/net") != inode("/proc/self/ns/net")
    assert by_inode(found, inode(f"/proc/{process}/ns/net")) == {}
    assert found["netns_total"] >= 2


def test_one_that_holds_no_process(look: Look, named: str) -> None:
    found = by_inode(look(), inode(f"/run/netns/{named}"))
    assert (found["name"], found["count"], found["timeouts"]["udp"]) == (named, 5, 17)


def test_from_inside_another_one(look: Look, held: Callable[[int], int], named: str) -> None:
    """The own one is that of the process, not the host's."""
    process = held(3)
    found = look("nsenter", "--net", "--target", str(process))
    mine = own(found)
    assert (mine["inode"], mine["count"], mine["timeouts"]) == (inode(f"/proc/{process}/ns/net"), 3, {})
    assert by_inode(found, inode(f"/run/netns/{named}"))["count"] == 5


def test_without_root_the_rest_is_unreadable_once(look: Look, held: Callable[[int], int], named: str) -> None:
    process = held(7)
    found = look(*NOBODY)
    assert found["unreadable"].count("/proc/*/ns/net") == 1
    assert not [path for path in found["unreadable"] if str(process) in path]
    assert [each["own"] for each in found["namespaces"]] == [True]
    # Its own, and the one with a file that all may see.
    assert found["netns_total"] >= 2
