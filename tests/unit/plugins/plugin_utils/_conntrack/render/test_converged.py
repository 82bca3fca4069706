# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A host that was converged has nothing to do: every golden host, with systemd and without, over loads and boots in a row."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import APPLIED_BY_NOTHING
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.risks import findings
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import policy
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.tests.unit import golden

POLICY = policy.Policy()
HELPERS = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")

NAMES = [name for name in golden.NAMES if golden.load(name, "facts")["root"]["state"] != "absent"]


class Machine:
    """The tree of a host, whose values and files are set as a change or a load does it."""

    def __init__(self, name, root, systemd):
        self.host = golden.GoldenHost(name, golden.lay_out(name, root))
        if not systemd:
            for path in HELPERS:
                if os.path.lexists(self.host.path(path)):
                    os.remove(self.host.path(path))

    def facts(self):
        """As the controller has them."""
        self.host.unreadable.clear()
        return FACTS(gather(self.host, ["all"]))

    def write(self, path, text):
        path = os.path.join(self.host.root, path.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as target:
            target.write(text)
        os.chmod(path, 0o644)

    def set(self, facts, values):
        """Live values by key."""
        names = kernel.FLAVOURS[facts["flavour"]]
        for key, value in values.items():
            paths = [kernel.sysctl_path(names.prefix + "buckets" if key == "hashsize" else key)]
            if key == "hashsize":
                paths.append(f"/sys/module/{names.module}/parameters/hashsize")
            if key == names.prefix + "max":
                paths.append("/proc/sys/net/nf_conntrack_max")
            for path in paths:
                if self.host.exists(path):
                    mode = os.stat(self.host.path(path)).st_mode
                    self.write(path, f"{value}\n")
                    os.chmod(self.host.path(path), mode)

    def change(self, facts, plan):
        for drift in plan.drift:
            if drift.kind == "file":
                self.write(drift.name, plan.contents[drift.name])
        for line in plan.lines:
            text = self.host.read(line["path"])
            assert line["found"] in text.split("\n")
            rows = [line["wanted"] if row == line["found"] else row for row in text.split("\n")]
            self.write(line["path"], "\n".join(rows))
        prefix = kernel.FLAVOURS[facts["flavour"]].prefix
        keys = {"hashsize": "buckets", prefix + "max": "max", prefix + "expect_max": "expect_max"}
        values = {key: plan.live[name] for key, name in keys.items() if plan.live.get(name)}
        values.update({prefix + kernel.timeout_key(name): value for name, value in plan.live["timeouts"].items()})
        values.update({prefix + name: value for name, value in plan.live["switches"].items()})
        self.set(facts, values)

    def after(self, facts, event):
        """A boot or a load; of what cannot be told, the worst: a load after everything else."""
        outcome = facts["outcome"]
        values = dict(outcome["reload"], **{k: v for k, v in outcome[event].items() if v["value"] is not None})
        self.set(facts, {key: one["value"] for key, one in values.items() if one["value"] is not None})


@pytest.fixture(params=[True, False], ids=["as it is", "without systemd"])
def systemd(request):
    return request.param


# Where there is a unit to be started, and a limit that is the host's own.
SIZED = [
    name
    for name in NAMES
    for facts in [golden.load(name, "facts")["root"]]
    if facts["services"]["systemd_sysctl"] and not facts["kernel"]["container"]
]


@pytest.mark.parametrize("name", NAMES)
def test_three_loads_and_boots_in_a_row_leave_nothing_to_do(tmp_path, name, systemd):
    leave_nothing_to_do(Machine(name, str(tmp_path / name), systemd), POLICY)


@pytest.mark.parametrize(
    "asked", [{}, {"max": 500000}, {"hashsize": 262144, "memory_percent": 50.0}], ids=["sized", "limit", "buckets"]
)
@pytest.mark.parametrize("name", SIZED)
def test_nor_do_they_where_a_unit_sizes(tmp_path, name, asked):
    policy = POLICY._replace(size_at_boot=True, **asked)
    leave_nothing_to_do(Machine(name, str(tmp_path / name), True), policy)


def leave_nothing_to_do(machine, policy):
    facts = machine.facts()
    first = planned(facts, policy)
    assert first.refusals == []
    machine.change(facts, first)
    facts = machine.facts()
    again = planned(facts, policy)
    assert (again.drift, again.refusals, again.converged) == ([], [], True)
    assert (again.max, again.hashsize, again.sysctl, again.expected) == (
        first.max,
        first.hashsize,
        first.sysctl,
        first.expected,
    )
    for _time in range(3):
        for event in ("reload", "boot"):
            if not facts["outcome"][event]:
                continue
            # What the host itself foresees is what was demanded before anything was written.
            for key, value in first.expected.get(event, {}).items():
                assert (facts["outcome"][event][key]["kind"], facts["outcome"][event][key]["value"]) == ("value", value)
            machine.after(facts, event)
            facts = machine.facts()
            again = planned(facts, policy)
            assert again.refusals == []
            if facts["services"]["systemd_sysctl"]:
                assert again.drift == []
            # Without systemd sysctl.d may not be applied after a load; what is written stays as it is all the same.
            assert [drift for drift in again.drift if drift.kind != "live"] == []
            assert (again.max, again.hashsize, again.sysctl) == (first.max, first.hashsize, first.sysctl)
            machine.change(facts, again)
            facts = machine.facts()
            assert planned(facts, policy).converged


@pytest.mark.parametrize("name", NAMES)
def test_no_remedy_is_what_was_done_already(tmp_path, name, systemd):
    machine = Machine(name, str(tmp_path / name), systemd)
    facts = machine.facts()
    machine.change(facts, planned(facts, POLICY))
    lost = [found for found in findings(machine.facts()) if found.id.startswith("lost-at-")]
    assert [found.remedy for found in lost] == [APPLIED_BY_NOTHING] * len(lost)
    # Only where systemd applies sysctl.d after a load.
    assert bool(lost) == (facts["state"] == "loaded" and not facts["services"]["systemd_sysctl"])


def test_hosts_with_systemd_and_without_are_among_them():
    found = {bool(golden.load(name, "facts")["root"]["services"]["systemd_sysctl"]) for name in NAMES}
    assert found == {True, False}


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("/etc/modprobe.d/zz.conf", "options nf_conntrack hashsize=1024\n", "hashsize: 1024 after the next boot"),
        (
            "/etc/sysctl.d/zz.conf",
            "net.netfilter.nf_conntrack_max = 1000\n",
            "nf_conntrack_max: 1000 after the next boot",
        ),
    ],
)
def test_lines_taken_over_leave_nothing_to_do(tmp_path, path, text, said):
    machine = Machine("debian12", str(tmp_path / "debian12"), True)
    machine.write(path, text + text)
    (refusal,) = planned(machine.facts(), POLICY).refusals
    assert said in refusal
    assert f"({path}:2: " in refusal
    facts = machine.facts()
    takes_over = POLICY._replace(takeover=True)
    plan = planned(facts, takes_over)
    assert plan.refusals == []
    machine.change(facts, plan)
    assert planned(machine.facts(), takes_over).converged
    assert planned(machine.facts(), POLICY).converged
