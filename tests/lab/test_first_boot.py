# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The first boot of an image with cloud-init and the rendered user-data, on machines of two sizes: every value is as planned for the
memory that is there, and the next boot leaves it so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, os.environ["ANSIBLE_COLLECTIONS_PATH"])
sys.path.insert(0, str(Path(__file__).parent))
import uml
import uml_image

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.folder import as_asked
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.machine import facts, read

MEMORY = {"small": 512, "large": 1024}
"""MB by the name of a guest."""
PACKAGES = (
    *("cloud-init", "python3-attr", "python3-blinker", "python3-certifi", "python3-chardet", "python3-configobj"),
    *("python3-charset-normalizer", "python3-idna", "python3-jinja2", "python3-jsonpatch", "python3-json-pointer"),
    *("python3-jsonschema", "python3-jwt", "python3-markupsafe", "python3-netifaces", "python3-oauthlib"),
    *("python3-pkg-resources", "python3-pyrsistent", "python3-requests", "python3-six", "python3-urllib3"),
    *("python3-yaml", "libyaml-0-2"),
)
FILES = {
    # What comes before packages and services, and nothing that the lab's own network and keys would mind.
    "etc/cloud/cloud.cfg.d/99-lab.cfg": (
        "datasource_list: [NoCloud]\nnetwork: {config: disabled}\n"
        "cloud_init_modules: [bootcmd]\ncloud_config_modules: []\ncloud_final_modules: []\n"
    ),
    "var/lib/cloud/seed/nocloud/meta-data": "instance-id: one\n",
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := uml.lack():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("image")
    tree = place / "tree"
    packages = tree / "var/tmp"
    image = uml_image.Image()
    image.built()
    tree.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {tree}", image.disk], check=True, capture_output=True)
    # The guest is of the release whose packages these are.
    wanted = [f"{name}/{uml_image.USERLAND}" for name in PACKAGES]
    download = ("apt-get", "-o", "APT::Sandbox::User=root", "download", *wanted)
    done = subprocess.run(download, cwd=packages, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"APT here has not all of {', '.join(wanted)}: {done.stderr}")
    # Without what it has for partitions, locales and DHCP.
    install = "dpkg --install --force-depends /var/tmp/*.deb && rm /var/tmp/*.deb"
    done = subprocess.run(["chroot", tree, "sh", "-c", install], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rendered = as_asked({}, {"render_to": str(place / "rendered")})["files"]
    (user_data,) = (file["content"] for file in rendered if file["path"] == "user-data")
    for path, text in {**FILES, "var/lib/cloud/seed/nocloud/user-data": user_data}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    made = place / "disk.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, made, uml_image.SIZE], check=True)
    return made


@pytest.fixture(scope="module")
def guests(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, uml.Guest]]:
    lab = tmp_path_factory.mktemp("sizes")
    made = {name: uml.Guest(lab, name) for name in MEMORY}
    for name, guest in made.items():
        guest.home.mkdir()
        os.link(disk, guest.home / uml.DISK)
        (guest.home / uml.MEMORY).write_text(str(MEMORY[name]))
    try:
        uml.each(list(made.values()), lambda guest: guest.boot(os.getpid()))
        yield made
    finally:
        uml.each(list(made.values()), uml.Guest.down)


def values(guest: uml.Guest) -> dict[str, int]:
    """All that there is, by dotted names."""
    told = guest.run("sysctl -a --pattern '^net[.]netfilter[.]nf_conntrack_' 2> /dev/null")
    return {key.strip(): int(value) for key, _sep, value in (line.partition("=") for line in told.splitlines())}


def wanted(guest: uml.Guest) -> dict[str, int]:
    """By the plan of a machine of that description."""
    release, total, there = guest.run("uname -r; sed -n 's/^MemTotal: *//p' /proc/meminfo; uname -m").splitlines()
    described = read({"memory": total, "kernel": release, "architecture": there})
    assert described is not None
    plan = planned(facts(described), Policy())
    assert plan.buckets is not None
    return {**plan.sysctl, "net.netfilter.nf_conntrack_buckets": plan.buckets}


def differing(guest: uml.Guest) -> dict[str, tuple[int, int | None]]:
    found = values(guest)
    return {key: (value, found.get(key)) for key, value in wanted(guest).items() if found.get(key) != value}


@pytest.mark.parametrize("name", MEMORY)
def test_after_the_first_boot_every_value_is_as_planned(guests: dict[str, uml.Guest], name: str) -> None:
    assert "status: done" in guests[name].run("cloud-init status --wait")
    assert differing(guests[name]) == {}


def test_they_are_of_two_sizes(guests: dict[str, uml.Guest]) -> None:
    small, large = (values(guests[name])["net.netfilter.nf_conntrack_max"] for name in MEMORY)
    assert small < large


def test_after_the_next_boot_as_well_and_the_script_was_called_once(guests: dict[str, uml.Guest]) -> None:
    guest = guests["small"]
    guest.reboot()
    assert "status: done" in guest.run("cloud-init status --wait")
    assert differing(guest) == {}
    assert guest.run("grep -c 'buckets at a load: done' /var/log/cloud-init-output.log") == "1\n"
