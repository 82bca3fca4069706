# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""conntrack_size_at_boot: what is written, what is left to the unit, and what will be by it."""

import shutil
import subprocess

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import rollback
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import (
    BOOT,
    MODPROBE,
    SIZER,
    STARTS,
    SYSCTL,
    UDEV,
    UNIT,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import boot
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import (
    planned,
    settings,
)
from ansible_collections.headroom.netfilter.tests.unit import changes
from ansible_collections.headroom.netfilter.tests.unit.plugins.plugin_utils._conntrack.render.test_converged import (
    Machine,
)

SIZES = Policy(size_at_boot=True)
PREFIX = "net.netfilter.nf_conntrack_"
LIMIT = PREFIX + "max"
GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    return Machine("debian12", str(tmp_path / "debian12"), True)


def with_memory(machine, total):
    machine.write("/proc/meminfo", "MemTotal: {0} kB\nMemAvailable: {0} kB\n".format(total // 1024))


def converged(machine, policy):
    facts = machine.facts()
    plan = planned(facts, policy)
    assert plan.refusals == []
    machine.change(facts, plan)
    return plan


def test_no_file_says_what_memory_alone_gives(machine):
    plan = converged(machine, SIZES)
    assert plan.sized_at_boot is True
    assert plan.reasons["max"].endswith("; no file says it: conntrack_size_at_boot")
    assert set(BOOT) < set(plan.files)
    assert not {LIMIT, PREFIX + "expect_max"} & set(plan.sysctl)
    assert "hashsize" not in plan.contents[MODPROBE]
    assert PREFIX + "tcp_timeout_established = 7440" in plan.contents[SYSCTL]
    assert 'ENV{SYSTEMD_WANTS}+="headroom-conntrack.service"' in plan.contents[UDEV]
    assert f"ExecStart=/bin/sh {SIZER} --boot\n" in plan.contents[UNIT]


@pytest.mark.parametrize(
    "asked",
    [{"max": 500000}, {"hashsize": 262144, "memory_percent": 50.0}],
    ids=["limit", "buckets"],
)
def test_what_is_named_is_written(machine, asked):
    plan = converged(machine, SIZES._replace(**asked))
    assert plan.sized_at_boot is False
    assert plan.sysctl[LIMIT] == plan.max
    assert f"hashsize={plan.hashsize}\n" in plan.contents[MODPROBE]


def test_what_flows_ask_for_beyond_memory_is_written(machine):
    facts = machine.facts()
    sized = planned(facts, SIZES)
    busy = dict(facts, table=dict(facts["table"], count=sized.max, max=2 * sized.max))
    plan = planned(busy, SIZES)
    assert (plan.sized_at_boot, plan.sysctl[LIMIT]) == (False, plan.max)
    assert plan.max > sized.max


@pytest.mark.parametrize("factor", [2, 4], ids=["twice the memory", "four times"])
def test_a_machine_that_has_grown_is_foretold_its_own_sizes(machine, tmp_path, factor):
    first = converged(machine, SIZES)
    memory = factor * machine.facts()["memory"]["total_bytes"]
    another = Machine("debian12", str(tmp_path / "another"), True)
    for one in (machine, another):
        with_memory(one, memory)
    wanted = planned(another.facts(), Policy())
    assert wanted.max > first.max
    will = machine.facts()["outcome"]
    for event in ("boot", "reload"):
        assert (will[event][LIMIT]["value"], will[event]["hashsize"]["value"]) == (wanted.max, wanted.hashsize)
    assert UNIT in will["boot"][LIMIT]["source"]


def test_a_smaller_line_of_anothers_is_raised_and_a_larger_one_refused(machine):
    plan = converged(machine, SIZES)
    machine.write("/etc/sysctl.d/zz.conf", LIMIT + " = 1000\n")
    assert planned(machine.facts(), SIZES).converged
    machine.write("/etc/sysctl.d/zz.conf", "{0} = {1}\n".format(LIMIT, 4 * plan.max))
    refusals = planned(machine.facts(), SIZES).refusals
    assert refusals
    assert [refusal for refusal in refusals if "zz.conf" not in refusal] == []
    assert planned(machine.facts(), SIZES._replace(takeover=True)).refusals == []


def test_what_was_sized_is_said_again_and_nothing_started_once_it_is_not_asked_for(machine):
    converged(machine, SIZES)
    facts = machine.facts()
    plan = planned(facts, Policy())
    assert {drift.name for drift in plan.drift} == {SYSCTL, MODPROBE, UDEV, STARTS}
    assert plan.sysctl[LIMIT] == plan.max
    assert "Wants" not in plan.contents[STARTS]
    machine.change(facts, plan)
    facts = machine.facts()
    assert planned(facts, Policy()).converged
    assert "sized" not in facts["assignments"]


def test_an_image_says_nothing_of_its_builders_memory(machine):
    image = SIZES._replace(target="image")
    plan = converged(machine, image)
    assert (plan.max, plan.hashsize, plan.reasons["max"]) == (None, None, "by the memory of the machine that boots")
    assert not [key for key in plan.sysctl if "_timeout" not in key]
    assert "hashsize" not in plan.contents[MODPROBE]
    with_memory(machine, 64 * GIB)
    assert planned(machine.facts(), image).contents == plan.contents
    assert planned(machine.facts(), image).converged


def test_what_an_image_has_is_as_a_host_is_planned(machine):
    image = converged(machine, SIZES._replace(target="image"))
    on_host = planned(machine.facts(), SIZES)
    assert [drift.name for drift in on_host.drift if drift.kind == "file"] == []
    assert on_host.contents == image.contents
    assert on_host.max


def test_without_systemd_it_is_refused(tmp_path):
    there = Machine("debian12", str(tmp_path / "debian12"), False)
    plan = planned(there.facts(), SIZES)
    assert [refusal for refusal in plan.refusals if refusal.startswith("conntrack_size_at_boot: true, but nothing")]
    assert not set(BOOT) & set(plan.files)


def test_what_a_script_cannot_reckon_is_refused(machine):
    plan = planned(machine.facts(), SIZES._replace(memory_percent=2.00001))
    assert plan.converged is False
    assert any("conntrack_size_at_boot: true, but conntrack_memory_percent" in one for one in plan.refusals)


def test_of_another_script_nothing_is_foretold(machine):
    converged(machine, SIZES)
    machine.write(SIZER, "#!/bin/sh\n")
    will = machine.facts()["outcome"]["boot"]
    assert (will[LIMIT]["kind"], will[LIMIT]["value"]) == ("untold", None)
    assert will[PREFIX + "tcp_timeout_established"]["value"] == 7440


def test_of_a_part_of_what_a_script_was_asked_for_nothing_is_foretold(machine):
    converged(machine, SIZES)
    facts = machine.facts()
    sized = dict(facts["assignments"]["sized"], asked={"MAX": 5})
    will = FACTS(dict(facts, assignments=dict(facts["assignments"], sized=sized)))["outcome"]["boot"]
    assert (will[LIMIT]["kind"], will[LIMIT]["value"]) == ("untold", None)


def test_what_others_may_write_is_nobodys_word(machine):
    converged(machine, SIZES)
    facts = machine.facts()
    told = dict(facts["assignments"], nobodys=[SIZER])
    assert [one for one in planned(dict(facts, assignments=told), SIZES).refusals if LIMIT in one]


@pytest.mark.parametrize("policy", [SIZES, Policy(max=100000, shrink=True, headroom=1.5, memory_percent=0.25)])
def test_what_a_script_was_made_of_is_read_in_it(machine, policy):
    plan = planned(machine.facts(), policy._replace(size_at_boot=True))
    machine.write(SIZER, plan.contents[SIZER])
    machine.write(UNIT, plan.contents[UNIT])
    machine.write(STARTS, plan.contents[STARTS])
    said = machine.facts()["assignments"]["sized"]["asked"]
    assert boot.asked(said) == boot.of_boot(policy)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
def test_systemd_takes_the_unit(machine):
    plan = planned(machine.facts(), SIZES)
    machine.write(UNIT, plan.contents[UNIT])
    command = ["systemd-analyze", "verify", "--man=no", machine.host.path(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "headroom" in line]) == (0, [])


def test_a_change_proves_it_and_gives_it_back(tmp_path):
    there = changes.Machine(tmp_path)
    before = there.state()
    host = there.host()
    facts = FACTS(gather(host, ["all"]))
    plan = planned(facts, SIZES)
    options = settings(plan, facts, SIZES)
    assert options["expected"]["boot"][LIMIT] == plan.max
    answer = run(host, read({**options, "id": "sized"}))
    after = FACTS(answer["facts"])
    assert after["outcome"]["boot"][LIMIT]["value"] == plan.max
    assert planned(after, SIZES).converged
    # What will be is no more as planned: the machine has shrunk meanwhile, or another script is there.
    wrong = dict(options["expected"], boot={LIMIT: plan.max + 1})
    with pytest.raises(ChangeError, match="planned"):
        run(there.host(), read({"files": [{"path": MODPROBE, "content": "# other\n"}], "expected": wrong}))
    rollback.run(there.host(), None, 1, "bob")
    assert there.state() == before
