# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A guest that boots with an initial RAM disk of initramfs-tools, which loads the module with an old copy of modprobe.d."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[5]))
sys.path.insert(0, str(Path(__file__).parent))
import uml
import uml_image

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.tree import Tree

PACKAGES = ("initramfs-tools", "initramfs-tools-core", "klibc-utils", "libklibc", "cpio", "linux-base")
LINE = "/etc/modprobe.d/nf_conntrack.conf"
LIST = "/etc/initramfs-tools/modules"
READ = (
    *(
        "/etc/initramfs-tools",
        "/etc/modprobe.d",
        "/etc/modules-load.d",
        "/etc/sysctl.d",
        "/boot",
        "/usr/sbin/mkinitramfs",
    ),
    *("/usr/lib/systemd/systemd-sysctl", "/usr/lib/modprobe.d", "/usr/lib/sysctl.d"),
)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[uml.Guest]:
    if reason := uml.lack():
        pytest.skip(reason)
    packages = tmp_path_factory.mktemp("packages")
    # The guest is of the release whose packages these are, and reaches no mirror.
    wanted = [f"{name}/{uml_image.USERLAND}" for name in PACKAGES]
    done = subprocess.run(
        ("apt-get", "-o", "APT::Sandbox::User=root", "download", *wanted),
        cwd=packages,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"APT here has no {', '.join(wanted)}: {done.stderr.decode()}")
    with uml.running(tmp_path_factory.mktemp("lab"), 1) as guests:
        for path in packages.glob("*.deb"):
            put(guests[0], f"/var/tmp/{path.name}", path.read_bytes())
        guests[0].run(
            """
            dpkg --install /var/tmp/*.deb
            for name in GZIP ZSTD XZ; do echo CONFIG_RD_$name=y; done > /boot/config-$(uname -r)
            echo MODULES=list > /etc/initramfs-tools/conf.d/lab; echo COMPRESS=gzip >> /etc/initramfs-tools/conf.d/lab
            """
        )
        yield guests[0]


def put(guest: uml.Guest, path: str, content: bytes) -> None:
    guest.run(f"base64 --decode > {path} << 'END'\n{base64.encodebytes(content).decode()}END")


def boot_with_its_disk(guest: uml.Guest) -> None:
    """What it has made at its /boot is put where a boot loader would find it."""
    disk = base64.b64decode(guest.run("base64 /boot/initrd.img-$(uname -r)"))
    (guest.home / uml.RAMDISK).write_bytes(disk)
    guest.reboot()


def predicted(guest: uml.Guest, root: Path) -> dict[str, Any]:
    """What is foretold of the guest, from its files."""
    root.mkdir()
    files = " ".join(READ)
    packed = base64.b64decode(guest.run(f"tar --create --ignore-failed-read {files} 2>/dev/null | base64"))
    subprocess.run(("tar", "--extract", "--directory", root), input=packed, check=True)
    for path, text in {
        "proc/sys/kernel/osrelease": guest.run("uname -r"),
        "proc/meminfo": guest.run("cat /proc/meminfo"),
        "proc/modules": "nf_conntrack 1 0 - Live 0x0\n",
        "proc/cmdline": guest.run("cat /proc/cmdline"),
        "sys/module/nf_conntrack/parameters/hashsize": "1024\n",
        "proc/sys/net/netfilter/nf_conntrack_max": "8192\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return gather(Tree(str(root)), ["table", "persistence"])


def buckets(guest: uml.Guest) -> int:
    return int(guest.run("cat /sys/module/nf_conntrack/parameters/hashsize"))


def test_the_copy_in_the_disk_decides_until_it_is_renewed(guest: uml.Guest, tmp_path: Path) -> None:
    guest.run(
        f"""
        echo nf_conntrack > {LIST}; echo 'options nf_conntrack hashsize=5120' > {LINE}
        echo 'net.netfilter.nf_conntrack_max = 70000' > /etc/sysctl.d/99-conntrack.conf
        update-initramfs -c -k $(uname -r)
        sleep 1; echo 'options nf_conntrack hashsize=20480' > {LINE}
        """
    )
    before = predicted(guest, tmp_path / "before")
    assert before["assignments"]["ramdisk"]["told"] is True
    boot_with_its_disk(guest)
    assert buckets(guest) == before["outcome"]["boot"]["hashsize"]["value"] == 5120
    # What sysctl.d says is applied again.
    limit = int(guest.run("cat /proc/sys/net/netfilter/nf_conntrack_max"))
    assert limit == before["outcome"]["boot"]["net.netfilter.nf_conntrack_max"]["value"] == 70000

    guest.run(before["assignments"]["ramdisk"]["renew"])
    after = predicted(guest, tmp_path / "after")
    assert after["outcome"]["problems"] == []
    boot_with_its_disk(guest)
    assert buckets(guest) == after["outcome"]["boot"]["hashsize"]["value"] == 20480
