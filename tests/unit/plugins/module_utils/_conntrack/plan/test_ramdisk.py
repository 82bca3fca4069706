# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a plan makes of an initial RAM disk that loads the module."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.tests.unit import examples

DISK = {
    "path": "/boot/initramfs-6.img",
    "renew": "dracut -f --kver 6",
    "copies": ["/etc/", "/usr/lib/", "/lib/"],
    "options": [],
    "modprobe": None,
    "sysctl": [],
    "told": True,
    "older": [],
}
PLANNED = 131072


def line(rest, path=files.MODPROBE):
    return {"path": path, "line": 1, "command": "options", "name": "nf_conntrack", "rest": rest, "text": ""}


def made(disk, own=None, **fields):
    parts = {"ramdisk": dict(DISK, **disk)} if disk is not None else {}
    if own:
        parts["modprobe"] = [line(own)]
    return examples.with_files({"assignments": examples.assignments(**parts)}, max=PLANNED, **fields)


def drifted(plan):
    return [(one.name, one.wanted) for one in plan.drift if one.kind == "ramdisk"]


# What the disk has, and whether that is other than planned.
CASES = [
    ("what the files are now", {}, True),
    ("another line", {"modprobe": [line("hashsize=4096", "/boot/i.img:/etc/modprobe.d/a.conf")]}, True),
    (
        "what is planned",
        {"modprobe": [line("hashsize={0}".format(PLANNED), "/boot/i.img:/etc/modprobe.d/a.conf")]},
        False,
    ),
    ("what nobody knows", {"told": False, "modprobe": []}, True),
]


@pytest.mark.parametrize(("disk", "is_behind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_without_the_variable_it_is_told_and_not_promised(disk, is_behind):
    plan = made(disk)
    assert (plan.refusals, drifted(plan)) == ([], [])
    said = [warning for warning in plan.warnings if warning.startswith(DISK["path"])]
    assert len(said) == is_behind
    assert all("dracut -f --kver 6, or set conntrack_initramfs=true" in warning for warning in said)
    assert ("hashsize" in plan.expected["boot"]) is not is_behind
    # What sysctl.d says is applied again once the disk is left, and a later load has the files.
    assert plan.expected["boot"]["net.netfilter.nf_conntrack_max"] == PLANNED
    assert plan.expected["reload"]["hashsize"] == PLANNED


@pytest.mark.parametrize(("disk", "is_behind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_with_the_variable_it_is_a_part_of_the_change(disk, is_behind):
    plan = made(disk, initramfs=True)
    assert plan.refusals == []
    assert drifted(plan) == [(DISK["path"], DISK["renew"])] * is_behind
    assert plan.expected["boot"]["hashsize"] == PLANNED
    assert not [warning for warning in plan.warnings if warning.startswith(DISK["path"])]


def test_with_the_variable_a_host_without_such_a_disk_is_as_without_it():
    assert made(None, initramfs=True) == made(None)


def test_a_disk_that_has_no_copies_is_behind_after_each_renewal():
    """No disk that is made now would have the line: there is nothing to be renewed, and the line that is missing is told of."""
    plan = made({"copies": []}, initramfs=True)
    assert drifted(plan) == []
    assert ["hashsize" in refusal for refusal in plan.refusals] == [True]


def test_a_parameter_of_its_own_is_in_the_way():
    option = dict(line("hashsize=4096", "/etc/initramfs-tools/modules"), text="nf_conntrack hashsize=4096")
    (refusal,) = made({"options": [option]}, initramfs=True).refusals
    assert "hashsize: 4096 after the next boot (/etc/initramfs-tools/modules:1" in refusal


def test_the_disk_of_a_builder_is_no_image_s():
    plan = made({}, initramfs=True, target="image")
    assert (drifted(plan), plan.refusals) == ([], [])
