# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A machine that is described is planned for as one that is there."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import machine
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.tests.unit import examples, golden
from ansible_collections.headroom.netfilter.tests.unit.examples import GIB, MIB

KERNEL = "6.1.0-37-amd64"


def described(**fields):
    return machine.facts(machine.read({"memory": "4 GiB", **fields}))


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("4 GiB", 4 * GIB),
        ("4GiB", 4 * GIB),
        ("0.5 GiB", 512 * MIB),
        ("512 MiB", 512 * MIB),
        ("4028440 kB", 4028440 * 1024),
        ("12 TiB", 12 * 1024 * GIB),
    ],
)
def test_memory_is_read_with_its_unit(said, size):
    assert machine.read({"memory": said}).memory == size


def test_nothing_is_no_machine():
    assert machine.read(None) is machine.read("") is None


def test_text_is_json():
    assert machine.read('{"memory": "1 GiB", "cpus": "2"}') == machine.Machine(GIB, 2)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("4 GiB", "render_machine: '4 GiB' will not do: expected a mapping with at least memory"),
        ([], "render_machine: [] will not do: expected a mapping"),
        ({}, "render_machine: {} will not do: expected a mapping with at least memory"),
        ({"memory": ""}, "render_machine.memory: '' will not do: expected memory such as 4 GiB"),
        ({"memory": 4096}, "render_machine.memory: 4096 will not do: expected memory from 16 MiB"),
        ({"memory": "4 GB"}, "render_machine.memory: '4 GB' will not do"),
        ({"memory": "8 MiB"}, "render_machine.memory: '8 MiB' will not do"),
        ({"memory": "9999 TiB"}, "render_machine.memory: '9999 TiB' will not do"),
        ({"memory": "1.2.3 GiB"}, "render_machine.memory: '1.2.3 GiB' will not do"),
        ({"memory": "4 GiB", "cpus": 0}, "render_machine.cpus: 0 will not do"),
        (
            {"memory": "4 GiB", "kernel": 6.1},
            "render_machine.kernel: 6.1 will not do: expected the release of a kernel",
        ),
        ({"memory": "4 GiB", "kernel": "6.1\nx"}, "render_machine.kernel: '6.1\\nx' will not do"),
        (
            {"memory": "4 GiB", "flavour": "nf"},
            "render_machine.flavour: 'nf' will not do: expected one of nf_conntrack",
        ),
        ({"memory": "4 GiB", "builtin": 2}, "render_machine.builtin: 2 will not do: expected true or false"),
        ({"memory": "4 GiB", "architecture": "vax"}, "render_machine.architecture: 'vax' will not do: expected one of"),
        (
            {"memory": "4 GiB", "page_size": 8192},
            "render_machine.page_size: 8192 will not do: expected bytes of a page",
        ),
        ({"memory": "4 GiB", "init": "upstart"}, "render_machine.init: 'upstart' will not do: expected one of systemd"),
        (
            {"memory": "4 GiB", "systemd_sysctl": "/x"},
            "render_machine.systemd_sysctl: '/x' will not do: expected one of",
        ),
        ({"memory": "4 GiB", "mem": 1}, "render_machine: ['mem'] will not do: expected of memory, cpus"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_do(value, said):
    with pytest.raises(PolicyError) as caught:
        machine.read(value)
    (problem,) = caught.value.problems
    assert problem.startswith(said)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(PolicyError) as caught:
        machine.read({"memory": 1, "cpus": "x", "page": 1})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "render_machine.memory",
        "render_machine.cpus",
        "render_machine",
    ]


@pytest.mark.parametrize("memory", [512 * MIB, 1 * GIB, 4 * GIB, 5 * GIB, 24 * GIB])
@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({}, {}),
        ({"architecture": "aarch64", "page_size": 65536}, examples.PAGES_64K),
        ({"architecture": "armv7l"}, examples.POINTERS_32),
        ({"kernel": "5.10.0-28-amd64"}, {"kernel.release": "5.10.0-28-amd64"}),
    ],
    ids=["x86_64", "aarch64", "armv7", "5.10"],
)
def test_the_numbers_are_those_of_such_a_host(memory, fields, changes):
    changes = {**examples.NOT_LOADED, "memory.total_bytes": memory, "kernel.hz": None, **changes}
    if "kernel.release" in changes:
        changes["table.entry_bytes"] = 448
    made = planned(described(memory=f"{memory // 1024} kB", **{"kernel": KERNEL, **fields}), Policy())
    wanted = planned(foretold(examples.facts(changes)), Policy())
    for name in ("max", "buckets", "hashsize", "expect_max", "timeouts"):
        assert getattr(made, name) == getattr(wanted, name)


@pytest.mark.parametrize("architecture", machine.ARCHITECTURES)
@pytest.mark.parametrize("init", machine.INITS)
@pytest.mark.parametrize("builtin", [False, True])
def test_every_machine_has_a_plan_that_nothing_refuses(architecture, init, builtin):
    made = planned(described(architecture=architecture, init=init, builtin=builtin), Policy())
    assert made.max == 131072
    assert not made.refusals
    assert bool(made.warnings) == (init != "systemd")


def test_a_limit_that_the_machine_cannot_bear_is_refused():
    made = planned(described(memory="64 MiB"), Policy(max=1000000))
    assert made.refusals[0].startswith(
        "conntrack_max: 1000000 entries take 373.8 MiB when full, and this host has 64.0 MiB"
    )


def test_the_golden_host_of_that_description_is_as_planned_with_the_files(tmp_path):
    """Its files alone make it what its own plan wants: nothing is loaded there that could differ."""
    tree = golden.lay_out("debian11_loadable", str(tmp_path / "tree"))
    host = golden.GoldenHost("debian11_loadable", tree)
    there = golden.gather(host, ["all"])
    facts = described(
        memory=f"{there['memory']['total_bytes'] // 1024} kB",
        kernel=there["kernel"]["release"],
        systemd_sysctl=there["services"]["systemd_sysctl"],
    )
    assert planned(there, Policy()).drift
    for path, text in planned(facts, Policy()).contents.items():
        place = tmp_path / "tree" / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o644)
    made = planned(golden.gather(host, ["all"]), Policy())
    assert (made.drift, made.refusals) == ([], [])
