# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_table: what a run found and did, from what the role's tasks leave behind."""

import pytest

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_table import FilterModule
from ansible_collections.headroom.netfilter.tests.unit.examples import NOT_LOADED, TIMEOUTS, facts


def conntrack_table(hosts, *options):
    """Columns are tested with the report; here is what stands in them."""
    return [" ".join(line.split()) for line in FilterModule().filters()["conntrack_table"](hosts, *options)]


POLICY = {"conntrack_max": 100000, "conntrack_timeout_profile": "kernel", "conntrack_timeouts": {"udp": 20}}
FILES = (
    "/etc/sysctl.d/99-conntrack.conf, /etc/modprobe.d/nf_conntrack.conf, "
    "/etc/modules-load.d/nf_conntrack.conf, /etc/udev/rules.d/90-conntrack.rules"
)
AFTER = {
    "table.max": 100000,
    "table.buckets": 100352,
    "table.full_bytes": 39202816,
    "table.expect_max": 1568,
    "timeouts": dict(TIMEOUTS, udp=20),
}


def host(name="web01", before=(), policy=None, checked=False, files_only=False, **result):
    """After a run of the role."""
    plan = conntrack_plan(facts(before), policy or POLICY)
    told = {"changed": bool(plan["drift"]), "checked": checked, "files_only": files_only}
    told.update({"before": facts(before), "after": facts(before), "plan": plan, **result})
    return {"inventory_hostname": name, "conntrack_result": told}


def failed(**result):
    return {"inventory_hostname": "web01", "conntrack_result": {"changed": False, "failed": True, **result}}


def read(name="web01", before=(), **variables):
    """After its facts were read alone."""
    said = {"changed": False, "ansible_facts": {"conntrack": facts(before)}}
    return {"inventory_hostname": name, "__conntrack_before": said, **variables}


def shown(lines, *starts):
    return [line for line in lines if line.startswith(starts)]


def test_what_was_done():
    lines = conntrack_table([host()])
    assert lines[:6] == [
        "web01",
        "setting before after",
        "limit (entries) 8192 100000 <- conntrack_max",
        "buckets 8192 100352 <- 100000 entries at 1 a bucket, rounded up to whole pages of 512 buckets",
        "memory at full 3.1 MiB 37.4 MiB <-",
        "expectations 128 1568 <- what this kernel gives 100352 buckets, 4 to each 256",
    ]
    assert shown(lines, "tcp_established", "udp (s)", "udplite") == [
        "tcp_established (s) 432000 432000",
        "udp (s) 30 20 <-",
    ]
    assert lines[-1] == "written: " + FILES


@pytest.mark.parametrize(
    ("hosts", "planned"),
    [([host(checked=True)], False), ([read(**POLICY)], True)],
    ids=["check mode", "read alone"],
)
def test_what_would_be_done(hosts, planned):
    lines = conntrack_table(hosts, planned)
    assert lines[1] == "setting now planned"
    assert lines[2] == "limit (entries) 8192 100000 <- conntrack_max"
    assert shown(lines, "tcp_established", "udp (s)") == [
        "tcp_established (s) 432000 432000",
        "udp (s) 30 20 <-",
    ]
    assert lines[-1] == "to be written: " + FILES


def test_a_host_that_was_as_planned():
    lines = conntrack_table([host(before=AFTER, changed=False)])
    assert "nothing to change" in lines
    assert not [line for line in lines if "<-" in line]


@pytest.mark.parametrize("planned", [False, True], ids=["done", "read alone"])
def test_warnings(planned):
    asked = {**POLICY, "conntrack_timeouts": {"dccp_open": 5}}
    lines = conntrack_table([read(**asked) if planned else host(policy=asked)], planned)
    assert len(shown(lines, "warning: conntrack_timeouts: this kernel has no dccp_open")) == 1


def test_refusals_of_a_host_that_was_read():
    lines = conntrack_table([read(conntrack_max=20000000)], True)
    assert len(shown(lines, "REFUSED: conntrack_max: 20000000 entries take 7.3 GiB when full")) == 1
    # What is refused is not written, whatever differs.
    assert shown(lines, "written", "to be written", "nothing") == []
    wrong = conntrack_table([read(conntrack_max=-1), read("web02", conntrack_maxx=1)], True)
    assert [line.split(":")[1] for line in shown(wrong, "REFUSED")] == [" conntrack_max", " conntrack_maxx"]


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"msg": "Refused: a\nb", "refusals": ["a", "b"]}, ["REFUSED: a", "REFUSED: b"]),
        (
            {"msg": "not as planned", "restored": ["/etc/x", "hashsize"], "not_restored": ["/etc/y: no room"]},
            ["FAILED: not as planned", "put back: /etc/x", "put back: hashsize", "NOT PUT BACK: /etc/y: no room"],
        ),
        ({"msg": "no Python"}, ["FAILED: no Python"]),
    ],
    ids=["refused", "put back", "failed"],
)
def test_hosts_that_failed(result, lines):
    assert conntrack_table([failed(**result)]) == ["web01", *lines]


@pytest.mark.parametrize(
    ("result", "checked", "lines"),
    [
        (
            {"undone": ["b", "a"], "restored": ["/etc/x"], "not_restored": []},
            False,
            ["undone: b, a", "put back: /etc/x"],
        ),
        (
            {"undone": ["b"], "restored": [], "not_restored": ["/etc/y: others have changed it"]},
            True,
            ["to be undone: b", "NOT PUT BACK: /etc/y: others have changed it"],
        ),
        # The action's tell.
        ({"undone": ["b"], "checked": True}, False, ["to be undone: b"]),
        ({"undone": [], "restored": [], "not_restored": []}, False, ["nothing to undo"]),
    ],
    ids=["undone", "check mode", "the action's check mode", "nothing"],
)
def test_what_was_undone(result, checked, lines):
    variables = {"inventory_hostname": "a", "conntrack_result": {"changed": True, **result}}
    assert conntrack_table([variables], False, checked) == ["a", *lines]


def test_what_waits_and_what_was_shortened():
    expired = {"shortened": 7, "examined": 9}
    given = [host("a", expired=expired, reboot_needed=["hashsize"]), host("b", expired=expired, checked=True)]
    assert shown(conntrack_table(given), "REBOOT", "shortened", "to be shortened") == [
        "shortened to the timeouts: 7 of 9 entries",
        "REBOOT NEEDED for: hashsize",
        "to be shortened to the timeouts: 7 of 9 entries",
    ]


SOURCE = "/etc/sysctl.d/99-conntrack.conf:4"
BUILT = {"net.netfilter.nf_conntrack_max": {"kind": "value", "value": 4711, "source": SOURCE}}


@pytest.mark.parametrize(
    ("there", "limit"),
    [({}, "limit (entries) - 100000 <- conntrack_max"), (BUILT, "limit (entries) 4711 100000 <- conntrack_max")],
    ids=["no files", "files"],
)
def test_of_an_image_what_is_written_is_shown_and_not_what_its_builder_has(there, limit):
    outcome = {"boot": there, "reload": {}, "overriding": [], "problems": [], "exposed": []}
    lines = conntrack_table([host(before={"outcome": outcome}, files_only=True)])
    assert shown(lines, "limit", "files alone") == [limit, "files alone: these are the values of a boot"]
    assert "8192" not in " ".join(lines)


@pytest.mark.parametrize(
    ("before", "note"),
    [
        (NOT_LOADED, "the module is not loaded: these are the values of its next load"),
        (dict(NOT_LOADED, state="absent"), "no connection tracking in this kernel: nothing can fill up"),
    ],
    ids=["not loaded", "absent"],
)
@pytest.mark.parametrize("planned", [False, True], ids=["done", "read alone"])
def test_states(before, note, planned):
    assert note in conntrack_table([read(before=before) if planned else host(before=before)], planned)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"conntrack_result": {"skipped": True, "changed": False}},
        {"conntrack_result": {"unreachable": True, "msg": "gone", "changed": False}},
        {"__conntrack_before": {"failed": True, "msg": "no Python"}},
    ],
    ids=["not run", "skipped", "unreachable", "not read"],
)
@pytest.mark.parametrize("planned", [False, True], ids=["done", "read alone"])
def test_hosts_of_which_nothing_is_known_are_left_out(variables, planned):
    assert conntrack_table([{"inventory_hostname": "a", **variables}], planned) == []


def test_equal_hosts_share_a_table():
    lines = conntrack_table([host("a"), host("b", before=AFTER), host("c")])
    assert lines[0] == "a, c (2 hosts)"
    assert lines[lines.index("") + 1] == "b"
