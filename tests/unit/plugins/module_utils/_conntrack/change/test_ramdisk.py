# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The initial RAM disk as a part of a change: made anew of its files, proved, and made anew of those that come back."""

import errno
import os
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import rollback
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.tests.unit.changes import MODPROBE, OLD, REQUEST, Machine
from ansible_collections.headroom.netfilter.tests.unit.disks import archive
from ansible_collections.headroom.netfilter.tests.unit.fakes import ChangedHost

RELEASE = "6.1.0-50-cloud-amd64"
DISK = "/boot/initrd.img-" + RELEASE
LIST = "/etc/initramfs-tools/modules"
NAME = "the initial RAM disk, with update-initramfs -u -k " + RELEASE
RENEWAL = ["update-initramfs", "-u", "-k", RELEASE]
ASKED = dict(REQUEST, initramfs=True, expected={"boot": {"hashsize": 16384}})


class WithDisk(ChangedHost):
    """Whose update-initramfs makes a disk of what is there, as the real one does; ``broken`` at the times of its runs."""

    broken = ()

    def renewals(self):
        return [argv[2:] for argv in self.ran if "update-initramfs" in argv]

    def run(self, argv, limit, longest=3.0):
        self.ran.append(argv)
        if "update-initramfs" not in argv:
            return None
        if len(self.renewals()) in self.broken:
            return None
        # So that there are none of one time.
        time.sleep(0.01)
        with open(self.path(DISK), "wb") as target:
            target.write(archive({"conf/modules": self.read(LIST), MODPROBE[1:]: self.read(MODPROBE) or ""}))
        return ""


@pytest.fixture
def machine(memory):
    there = Machine(memory)
    assert there.text("/proc/sys/kernel/osrelease").strip() == RELEASE
    there.write("/usr/sbin/mkinitramfs", "")
    there.write(LIST, "nf_conntrack\n")
    os.makedirs(there.root + "/boot", exist_ok=True)
    host(there).run(["env", "PATH=", *RENEWAL], 1)
    return there


def host(machine, broken=(), **options):
    found = WithDisk("debian12", machine.root, **options)
    found.broken = broken
    return found


def inside(machine):
    """The line of modprobe.d that the disk has."""
    with open(machine.root + DISK, "rb") as source:
        content = source.read()
    return content[content.index(b"options") :].partition(b"\n")[0].decode("ascii") + "\n"


def test_without_it_the_disk_is_behind(machine):
    run(host(machine), read(dict(ASKED, initramfs=False, expected={})))
    outcome = gather(host(machine), ["persistence", "table"])["outcome"]
    assert outcome["boot"]["hashsize"]["value"] == 4096
    assert [problem["kind"] for problem in outcome["problems"]] == ["behind"]


def test_with_it_the_change_is_proved(machine):
    one = host(machine)
    answer = run(one, read(ASKED))
    assert one.renewals() == [RENEWAL]
    assert inside(machine) == "options nf_conntrack hashsize=16384\n"
    assert answer["facts"]["outcome"]["boot"]["hashsize"]["value"] == 16384
    assert answer["facts"]["outcome"]["problems"] == []


def test_what_was_promised_without_it_is_put_back(machine):
    with pytest.raises(ChangeError, match="hashsize: 4096 after the next boot"):
        run(host(machine), read(dict(ASKED, initramfs=False)))
    assert machine.text(MODPROBE) == OLD


def test_check_mode_runs_nothing(machine):
    one = host(machine)
    assert run(one, read(ASKED), check=True)["changed"] is True
    assert one.ran == []


def test_where_nothing_else_differs_it_is_renewed_all_the_same(machine):
    run(host(machine), read(dict(ASKED, initramfs=False, expected={})))
    one = host(machine)
    same = {name: ASKED[name] for name in ("max", "buckets", "initramfs", "expected")}
    answer = run(one, read(dict(same, id="again")))
    assert (answer["changed"], one.renewals()) == (True, [RENEWAL])
    assert inside(machine) == "options nf_conntrack hashsize=16384\n"


@pytest.mark.parametrize(
    ("broken", "left", "has"),
    [
        ((1,), [], OLD),
        (
            (1, 2),
            [
                NAME
                + ": "
                + " ".join(RENEWAL)
                + " failed, or was not done in 1200 s: run it by hand to see why, before the next boot"
            ],
            OLD,
        ),
    ],
    ids=["the first time", "each time"],
)
def test_a_renewal_that_fails(machine, broken, left, has):
    before = machine.state()
    one = host(machine, broken)
    with pytest.raises(ChangeError, match="update-initramfs") as caught:
        run(one, read(ASKED))
    assert caught.value.told["not_restored"] == left
    assert (NAME in caught.value.told["restored"]) is (not left)
    assert (machine.state(), inside(machine)) == (before, has)
    assert one.renewals() == [RENEWAL] * 2


def test_it_is_renewed_again_where_the_proof_fails(machine):
    before = machine.state()
    with pytest.raises(ChangeError, match="not as planned"):
        run(host(machine), read(dict(ASKED, expected={"boot": {"hashsize": 512}})))
    assert (machine.state(), inside(machine)) == (before, OLD)


@pytest.mark.parametrize("to", [None, "first"])
def test_it_is_renewed_again_where_the_change_is_taken_back(machine, to):
    before = machine.state()
    run(host(machine), read(ASKED))
    one = host(machine)
    answer = rollback.run(one, to, 60, "bob")
    assert (machine.state(), inside(machine), one.renewals()) == (before, OLD, [RENEWAL])
    assert NAME in answer["restored"]


def test_it_is_renewed_again_where_the_change_was_left_unfinished(machine):
    class CutOff(WithDisk):
        def run(self, argv, limit, longest=3.0):
            super().run(argv, limit, longest)
            raise KeyboardInterrupt

    before = machine.state()
    with pytest.raises(KeyboardInterrupt):
        run(CutOff("debian12", machine.root), read(ASKED))
    assert inside(machine) != OLD
    with pytest.raises(ChangeError, match="left unfinished, and undone now"):
        run(host(machine), read(dict(ASKED, id="next")))
    assert (machine.state(), inside(machine)) == (before, OLD)


@pytest.mark.parametrize("check", [False, True])
def test_without_a_program_for_it_it_is_refused(machine, check):
    os.unlink(machine.root + "/usr/sbin/mkinitramfs")
    before = machine.state()
    with pytest.raises(ChangeError, match="neither update-initramfs nor dracut nor mkinitcpio"):
        run(host(machine), read(ASKED), check)
    assert machine.state() == before


def test_an_image_has_none(machine):
    one = host(machine)
    run(one, read(dict(ASKED, target="image", max=None, buckets=None, timeouts={}, found={}, expected={})))
    assert one.renewals() == []


def test_a_file_that_cannot_be_written_keeps_the_old_disk(machine):
    one = host(machine, nth=12, number=errno.ENOSPC)
    with pytest.raises(ChangeError):
        run(one, read(ASKED))
    assert inside(machine) == OLD
