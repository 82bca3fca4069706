# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""An image that the role was run on through a chroot, booted on machines of two sizes: each is right for its own memory, which the
builder has not; from its first boot, before the network comes up, and after each load of the module.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[5]))
sys.path.insert(0, str(Path(__file__).parent))
import images
import uml
import uml_image

from ansible_collections.headroom.netfilter.tests import peers

REPO = Path(__file__).resolve().parents[2]
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(REPO.parents[2])
SIZED = ("-e", "conntrack_size_at_boot=true")
MEMORY = {"small": 512, "large": 1024}
"""MB by the name of a guest."""
KEYS = ("max", "buckets", "expect_max", "tcp_timeout_established")
UNIT = "headroom-conntrack.service"


class Built(NamedTuple):
    """An image, and the folder of its tree."""

    tree: Path
    disk: Path


def play(inventory: Path, *arguments: str) -> str:
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    words = [program, "-i", str(inventory), "headroom.netfilter.tune", *arguments]
    others = peers.collections(images.cache())
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{COLLECTIONS}:{others}", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    if reason := uml.lack():
        pytest.skip(reason)
    try:
        peers.collections(images.cache())
    except peers.Failure as failure:
        pytest.skip(f"no community.general, which has the connection chroot: {failure}")
    place = tmp_path_factory.mktemp("image")
    tree, disk = place / "tree", place / "disk.img"
    tree.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {tree}", uml_image.Image().disk], check=True, capture_output=True)
    inventory = place / "inventory.json"
    host = {
        "ansible_connection": "community.general.chroot",
        "ansible_host": str(tree),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"image": host}}}))
    image = ("-e", "conntrack_target=image", *SIZED)
    assert "changed=1" in play(inventory, *image)
    assert "changed=0" in play(inventory, *image)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, disk, uml_image.SIZE], check=True)
    return Built(tree, disk)


@pytest.fixture(scope="module")
def guests(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, uml.Guest]]:
    lab = tmp_path_factory.mktemp("sizes")
    made = {name: uml.Guest(lab, name) for name in MEMORY}
    for name, guest in made.items():
        guest.home.mkdir()
        os.link(built.disk, guest.home / uml.DISK)
        (guest.home / uml.MEMORY).write_text(str(MEMORY[name]))
    try:
        uml.each(list(made.values()), lambda guest: guest.boot(os.getpid()))
        uml.write_inventory(lab)
        yield made
    finally:
        uml.each(list(made.values()), uml.Guest.down)


def values(guest: uml.Guest) -> dict[str, int]:
    paths = " ".join(f"/proc/sys/net/netfilter/nf_conntrack_{key}" for key in KEYS)
    return dict(zip(KEYS, map(int, guest.run(f"cat {paths}").split())))


def planned(guest: uml.Guest) -> int:
    """The limit by the plan's rule, in its own words: the share of memory that full entries take, in coarse steps."""
    total = int(guest.run("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")) * 1024
    holds = int(total * 0.02 // (384 + 8)) // 512 * 512
    steps = holds.bit_length() - 3
    return holds >> steps << steps


def test_a_file_of_the_image_says_no_size(built: Built) -> None:
    texts = [
        (built.tree / name).read_text()
        for name in ("etc/sysctl.d/99-conntrack.conf", "etc/modprobe.d/nf_conntrack.conf")
    ]
    assert "nf_conntrack_tcp_timeout_established = 7440" in texts[0]
    assert not re.search(r"^(?!#).*(hashsize|conntrack_max|expect_max|buckets)", "\n".join(texts), re.M)


@pytest.mark.parametrize("name", MEMORY)
def test_the_first_boot_sizes_by_the_machines_own_memory(guests: dict[str, uml.Guest], name: str) -> None:
    found = values(guests[name])
    assert found["max"] == planned(guests[name])
    assert (found["buckets"], found["tcp_timeout_established"]) == (found["max"], 7440)
    said = guests[name].run("journalctl -b -t headroom.netfilter --no-pager -o cat")
    assert f"net.netfilter.nf_conntrack_max: {found['max'] // 2**0}" in said or f"-> {found['max']}" in said


def test_they_are_of_two_sizes(guests: dict[str, uml.Guest]) -> None:
    small, large = (values(guests[name]) for name in MEMORY)
    assert small["max"] < large["max"]


@pytest.mark.parametrize("name", MEMORY)
def test_it_is_done_before_the_network_comes_up(guests: dict[str, uml.Guest], name: str) -> None:
    ended = guests[name].run(f"systemctl show -P ExecMainExitTimestampMonotonic {UNIT}")
    began = guests[name].run("systemctl show -P ActiveEnterTimestampMonotonic systemd-networkd")
    assert 0 < int(ended) < int(began)


def test_a_load_of_the_module_is_sized_again(guests: dict[str, uml.Guest]) -> None:
    guest = guests["large"]
    before = values(guest)
    guest.run("modprobe -r nf_conntrack_netlink nf_conntrack && modprobe nf_conntrack && udevadm settle")
    deadline = time.monotonic() + 30
    while values(guest) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert values(guest) == before


def test_the_role_has_nothing_to_do_there(guests: dict[str, uml.Guest]) -> None:
    said = play(next(iter(guests.values())).lab / "inventory.yml", "--diff", *SIZED)
    assert "nothing to change" in said, said
    assert len(re.findall(r"changed=0 .*failed=0", said)) == len(MEMORY)


def test_a_script_that_cannot_do_it_leaves_the_kernels_own_and_the_boot_goes_on(guests: dict[str, uml.Guest]) -> None:
    guest = guests["small"]
    guest.run("mv /etc/headroom/conntrack-size /var/tmp/kept; printf 'exit 1\\n' > /etc/headroom/conntrack-size; sync")
    guest.reboot()
    assert values(guest)["max"] < planned(guest)
    assert guest.attempt(f"systemctl is-failed {UNIT}").stdout == "failed\n"
    assert guest.attempt("systemctl is-active network.target").stdout == "active\n"
    guest.run("mv /var/tmp/kept /etc/headroom/conntrack-size; sync")
    guest.reboot()
    assert values(guest)["max"] == planned(guest)
