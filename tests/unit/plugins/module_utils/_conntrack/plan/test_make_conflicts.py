# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Others who write what the plan writes: stepped aside for, taken over or refused."""

import hashlib

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.tests.unit import examples

MAX = "net.netfilter.nf_conntrack_max"
BUCKETS = "net.netfilter.nf_conntrack_buckets"
ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
PLANNED = 131072
BUILTIN = {"state": "builtin"}
NO_SYSTEMD = {"services.systemd_sysctl": None}


def sysctl(value, key=MAX, file="/etc/sysctl.conf", path="/etc/sysctl.d/99-sysctl.conf", text=None):
    """A file that is read after the role's own, with such a twelfth line."""
    text = "{0} = {1}".format(key, value) if text is None else text
    lines = [{"line": 12, "key": key, "value": str(value), "text": text}]
    return {"sysctl": [{"path": path, "file": file, "lines": lines}]}


def modprobe(*texts, path="/etc/modprobe.d/z.conf"):
    lines = []
    for number, text in enumerate(texts, 1):
        command, name, rest = text.split(" ", 2)
        lines.append({"path": path, "line": number, "command": command, "name": name, "rest": rest, "text": text})
    return {"modprobe": lines}


def script(value, path="/etc/rc.local", yields=False, text="sysctl -w net.netfilter.nf_conntrack_max=1000 && start-it"):
    owner = {"name": "rc.local", "keys": {MAX: value}, "evidence": path + ":12: " + text, "path": path, "line": 12}
    return {"owners": [dict(owner, text=text, remedy="take the line out of " + path, yields=yields, call=None)]}


def test_what_applies_sysctl_d_again_after_itself_is_in_nobody_s_way():
    """As tuned does: with the role's file it sets the key no more."""
    assert made(script(1000, yields=True)).refusals == []
    assert made(script(1000)).refusals != []


def kube_proxy(keys, at_boot=True, path=None):
    return {
        "name": "kube-proxy",
        "keys": keys,
        "evidence": "process 4711: kube-proxy",
        "remedy": "set conntrack.maxPerCore",
        "path": path,
        "line": None,
        "text": None,
        "at_boot": at_boot,
    }


def made(parts=None, owners=(), changes=(), **fields):
    """A plan of the example, with its files, where ``parts`` and ``owners`` decide besides."""
    programs = [
        dict({name: owner[name] or "" if name == "text" else owner[name] for name in ASSIGNED}, yields=False, call=None)
        for owner in owners
        if owner["at_boot"]
    ]
    told = dict({"owners": programs}, **parts or {})
    facts = {"owners": list(owners), "assignments": examples.assignments(**told)}
    facts.update(changes)
    return examples.with_files(facts, **fields)


ASSIGNED = ("name", "keys", "evidence", "path", "line", "text", "remedy")


def lines(found):
    return [drift for drift in found.drift if drift.kind == "line"]


def test_the_example_plans_what_these_tests_count_on():
    assert made().max == PLANNED
    assert made().refusals == []


def test_a_line_that_would_win_is_refused_by_its_place():
    found = made(sysctl(1000))
    assert not found.converged
    assert found.refusals == [
        "{0}: 1000 after the next boot (/etc/sysctl.conf:12: '{0} = 1000'), {1} planned; remove that line, ask for its "
        "value, or set conntrack_takeover=true".format(MAX, PLANNED)
    ]
    assert (lines(found), found.lines) == ([], [])


@pytest.mark.parametrize(
    "parts",
    [
        sysctl(PLANNED),
        sysctl(5, "net.netfilter.nf_conntrack_frag6_timeout"),
        sysctl(1000, path="/etc/sysctl.d/10-first.conf"),
        modprobe("options nf_conntrack hashsize=131000"),
    ],
    ids=["says the same", "no key of the plan", "comes before", "is rounded to the same"],
)
def test_a_line_that_takes_nothing_away_is_left_alone(parts):
    found = made(parts, takeover=True)
    assert found.refusals == []
    assert lines(found) == []


def test_a_line_that_says_another_value_first_and_then_the_planned_one_is_left_alone():
    parts = sysctl(1)
    parts["sysctl"][0]["lines"].append({"line": 13, "key": MAX, "value": str(PLANNED), "text": "x"})
    assert made(parts).refusals == []


@pytest.mark.parametrize("text", [MAX + " = 1000", "  -" + MAX.replace(".", "/") + "=1000   "])
def test_a_line_is_taken_over(text):
    found = made(sysctl(1000, text=text), takeover=True)
    assert found.refusals == []
    (line,) = lines(found)
    assert (line.kind, line.name) == ("line", "/etc/sysctl.conf")
    assert line.wanted == "# " + text.strip()
    assert found.lines == [{"path": "/etc/sysctl.conf", "found": text, "wanted": "# " + text.strip()}]
    assert found.expected["boot"][MAX] == PLANNED


@pytest.mark.parametrize(
    ("path", "file", "remedy"),
    [
        (
            "/usr/lib/sysctl.d/99-vendor.conf",
            "/usr/lib/sysctl.d/99-vendor.conf",
            "put a file or a link of the name 99-vendor.conf in its place below /etc",
        ),
        # By the name that is read, not by that of the file which has it.
        (
            "/usr/lib/sysctl.d/99-vendor.conf",
            "/usr/share/vendor/limits",
            "put a file or a link of the name 99-vendor.conf in its place below /etc",
        ),
        (
            "/etc/sysctl.d/99-vendor.conf",
            "/usr/share/vendor/limits",
            "let /etc/sysctl.d/99-vendor.conf, which leads there, lead to /dev/null",
        ),
    ],
    ids=["a file", "a link of the package", "a link of the host"],
)
def test_a_package_s_file_is_not_edited(path, file, remedy):
    found = made(sysctl(1000, path=path, file=file), takeover=True)
    assert lines(found) == []
    (refusal,) = found.refusals
    assert file + ":12" in refusal
    assert refusal.endswith(remedy)


@pytest.mark.parametrize(
    "parts",
    [script(1000), script(None), modprobe("options nf_conntrack acct=1 hashsize=512")],
    ids=["a script", "a script that nobody can tell", "two parameters"],
)
def test_a_line_that_says_more_is_not_edited(parts):
    found = made(parts, takeover=True)
    assert lines(found) == []
    (refusal,) = found.refusals
    assert "take " in refusal.rpartition("; ")[2]


@pytest.mark.parametrize(
    "texts",
    [
        ["options nf_conntrack hashsize=512"],
        # The load fails of it.
        ["options nf_conntrack hashsize = 65536"],
        ["options nf_conntrack hashsize=512", "options nf_conntrack hashsize=1024"],
    ],
    ids=["one", "one that is broken", "two"],
)
def test_lines_of_modprobe_d_are_taken_over(texts):
    found = made(modprobe(*texts), takeover=True)
    assert found.refusals == []
    assert {line["found"] for line in found.lines} == set(texts)
    assert {line["wanted"] for line in found.lines} == {"# " + text for text in texts}
    # Without leave, all are named at once.
    refused = made(modprobe(*texts)).refusals
    assert len(refused) == len(texts)
    assert all(any(repr(text) in refusal for refusal in refused) for text in texts)


# By what keeps a load from being as planned, the refusal's ends.
NO_LOAD = {
    "blanks": (
        modprobe("options nf_conntrack hashsize = 65536"),
        "hashsize: nothing after the next boot (the load fails: /etc/modprobe.d/z.conf:1: 'options nf_conntrack hashsize = 65536')",
        "remove that line, or set conntrack_takeover=true",
    ),
    "another number": (
        modprobe("options nf_conntrack hashsize=65536"),
        "hashsize: 65536 after the next boot (/etc/modprobe.d/z.conf:1: 'options nf_conntrack hashsize=65536')",
        "remove that line, ask for its value, or set conntrack_takeover=true",
    ),
    "no load": (
        modprobe("install nf_conntrack /bin/true"),
        "hashsize: nothing after the next boot (the load fails: /etc/modprobe.d/z.conf:1: 'install nf_conntrack /bin/true')",
        "take it out there",
    ),
    "anything may happen": (
        modprobe("install nf_conntrack /sbin/load-it"),
        "hashsize: nothing after the next boot (install command of /etc/modprobe.d/z.conf:1: 'install nf_conntrack /sbin/load-it')",
        "take it out there",
    ),
    "barred": (
        {"command_line": ["module_blacklist=nf_conntrack"]},
        "hashsize: nothing after the next boot (the load fails: kernel command line: 'module_blacklist=nf_conntrack')",
        "take module_blacklist=nf_conntrack off it, and boot",
    ),
    "of the command line": (
        {"command_line": ["nf_conntrack.hashsize=1024"]},
        "hashsize: 1024 after the next boot (kernel command line: 'nf_conntrack.hashsize=1024')",
        "take nf_conntrack.hashsize=1024 off it, and boot",
    ),
    "garbage of the command line": (
        {"command_line": ["nf_conntrack.hashsize=x"]},
        "hashsize: nothing after the next boot (the load fails: kernel command line: 'nf_conntrack.hashsize=x')",
        "take nf_conntrack.hashsize=x off it, and boot",
    ),
    "of sysctl.d": (
        sysctl(1024, BUCKETS),
        "hashsize: 1024 after the next boot (/etc/sysctl.conf:12: 'net.netfilter.nf_conntrack_buckets = 1024')",
        "remove that line, ask for its value, or set conntrack_takeover=true",
    ),
}


@pytest.mark.parametrize("state", ["loaded", "loadable"])
@pytest.mark.parametrize(("parts", "said", "remedy"), list(NO_LOAD.values()), ids=list(NO_LOAD))
def test_what_keeps_a_load_from_being_as_planned_is_refused_before_anything_is_written(parts, said, remedy, state):
    changes = examples.NOT_LOADED if state == "loadable" else {}
    (refusal,) = made(parts, changes=changes).refusals
    assert refusal == "{0}, {1} planned; {2}".format(said, PLANNED, remedy)
    # Also where all else is as planned already.
    assert not made(parts, changes=dict(changes, **as_planned(made(changes=changes)))).converged


@pytest.mark.parametrize("parts", [parts for parts, _said, _remedy in NO_LOAD.values()][:-1], ids=list(NO_LOAD)[:-1])
def test_a_kernel_that_has_conntrack_built_in_is_asked_for_no_load(parts):
    assert made(parts, changes=BUILTIN).refusals == []


def test_buckets_that_sysctl_d_says_where_conntrack_is_built_in():
    (refusal,) = made(sysctl(1024, BUCKETS), changes=BUILTIN).refusals
    assert refusal.startswith("hashsize: 1024 after the next boot (/etc/sysctl.conf:12")
    (taken,) = made(sysctl(1024, BUCKETS), changes=BUILTIN, takeover=True).lines
    assert taken["found"] == BUCKETS + " = 1024"


@pytest.mark.parametrize("part", ["sysctl", "modprobe", "command_line", "udev", "owners"])
def test_what_is_not_told_is_not_taken_for_none(part):
    found = made({"untold": [part]}, takeover=True)
    assert found.refusals
    assert all("not all of " in refusal for refusal in found.refusals)


def test_facts_that_do_not_tell_what_decides():
    facts = examples.facts()
    del facts["assignments"]
    wanted = examples.policy_of()
    found = plan.make(facts, wanted, examples.contents)
    assert found.refusals == ["facts without table and persistence: what a boot and a load leave cannot be told"]


def test_without_files_of_its_own_the_plan_minds_no_line():
    found = made(sysctl(1000), changes=examples.CONTAINER)
    assert (found.refusals, found.expected) == ([], {})


def test_without_systemd_a_line_that_would_win_is_refused_and_what_nobody_knows_is_not():
    assert made(changes=NO_SYSTEMD).refusals == []
    (refusal,) = made(sysctl(1000), changes=NO_SYSTEMD).refusals
    assert refusal.startswith(MAX + ": 1000 after a boot that applies sysctl.d (/etc/sysctl.conf:12")
    (refusal,) = made(modprobe("options nf_conntrack hashsize=512"), changes=NO_SYSTEMD).refusals
    assert refusal.startswith("hashsize: 512 after the next boot (")


# What is demanded of tomorrow.

KEYS = {"net.netfilter.nf_conntrack_" + name for name in ("max", "expect_max")}
KEYS |= {"net.netfilter.nf_conntrack_" + kernel.timeout_key(name) for name in PROFILES["server"].choices}


@pytest.mark.parametrize(
    ("changes", "fields", "boot", "reload"),
    [
        ({}, {}, KEYS | {"hashsize"}, KEYS | {"hashsize"}),
        (examples.NOT_LOADED, {}, KEYS | {"hashsize"}, KEYS | {"hashsize"}),
        (BUILTIN, {}, KEYS | {"hashsize"}, set()),
        (NO_SYSTEMD, {}, {"hashsize"}, {"hashsize"}),
        (dict(BUILTIN, **NO_SYSTEMD), {}, set(), set()),
        ({}, {"target": "image"}, set(), set()),
        ({}, {"apply": False}, KEYS | {"hashsize"}, KEYS | {"hashsize"}),
    ],
    ids=["loaded", "not loaded", "built in", "no systemd", "built in, no systemd", "image", "files alone"],
)
def test_what_is_demanded(changes, fields, boot, reload):
    found = made(changes=changes, **fields)
    assert (set(found.expected["boot"]), set(found.expected["reload"])) == (boot, reload)
    for values in found.expected.values():
        assert values.get("hashsize", found.buckets) == found.buckets
        assert {key: value for key, value in values.items() if key != "hashsize"} == {
            key: found.sysctl[key] for key in values if key != "hashsize"
        }


def test_what_a_program_sets_is_not_demanded_of_a_boot():
    found = made(owners=[kube_proxy({MAX: None, ESTABLISHED: 86400})])
    assert found.refusals == []
    assert not {MAX, ESTABLISHED} & set(found.expected["boot"])
    assert {MAX, ESTABLISHED} <= set(found.expected["reload"])


def test_what_a_file_says_that_others_may_write_is_not_demanded():
    found = made(dict(sysctl(1000), nobodys=["/etc/sysctl.d/99-sysctl.conf"]))
    assert found.refusals == []
    for values in found.expected.values():
        assert MAX not in values
        assert values[ESTABLISHED] == found.sysctl[ESTABLISHED]


def test_a_file_that_others_may_write_hides_no_line_of_root_s():
    parts = sysctl(1000)
    parts["sysctl"].append(dict(sysctl(2000, path="/etc/sysctl.d/zz.conf", file="/etc/sysctl.d/zz.conf")["sysctl"][0]))
    (refusal,) = made(dict(parts, nobodys=["/etc/sysctl.d/zz.conf"])).refusals
    assert "1000 after the next boot (/etc/sysctl.conf:12: " in refusal


def test_what_waits_for_a_boot():
    assert made().reboot_needed == []
    stuck = {"kernel.writable": {"max": True, "buckets": False, "timeouts": True}}
    assert made(changes=stuck).reboot_needed == ["hashsize"]
    waiting = made(apply=False)
    assert {"hashsize", MAX, ESTABLISHED} <= set(waiting.reboot_needed)
    assert made(changes=examples.NOT_LOADED).reboot_needed == []


def as_planned(found):
    """The facts of a host after ``found`` was applied to it."""
    contents = examples.contents(found)
    there = {
        path: {
            "sha256": hashlib.sha256(contents[path].encode()).hexdigest(),
            "mode": "0644",
            "owner": "root",
            "group": "root",
            "ours": True,
        }
        for path in found.files
    }
    return {
        "files": there,
        "table.max": found.max,
        "table.buckets": found.buckets,
        "table.expect_max": found.expect_max,
        "timeouts": dict(examples.TIMEOUTS, **found.timeouts),
    }


def test_a_host_that_is_as_planned():
    assert made(changes=as_planned(made())).converged


# Programs.


@pytest.mark.parametrize(
    ("theirs", "in_force", "planned", "warned"),
    [
        (262144, 8192, 262144, False),
        (100000, 8192, 100000, True),
        (100000, 120000, 120000, True),
    ],
    ids=["more", "less", "less than is in force"],
)
def test_a_limit_that_a_program_sets_is_left_to_it(theirs, in_force, planned, warned):
    owner = kube_proxy({MAX: theirs})
    found = made(owners=[owner], changes={"table.max": in_force}, memory_percent=10, max_ceiling=2 * PLANNED)
    assert found.refusals == []
    assert found.max == found.sysctl[MAX] == found.live["max"] == planned
    assert "kube-proxy sets {0}".format(theirs) in found.reasons["max"]
    assert any("set conntrack.maxPerCore" in warning for warning in found.warnings) is warned
    # The next run finds what the program has set, and leaves it so.
    again = made(owners=[owner], changes={"table.max": theirs}, memory_percent=10, max_ceiling=2 * PLANNED)
    assert again.max == theirs


def test_a_timeout_that_a_program_sets_is_left_to_it():
    found = made(owners=[kube_proxy({ESTABLISHED: 86400})])
    assert found.timeouts["tcp_established"] == 86400
    assert "kube-proxy" in found.reasons["tcp_established"]
    assert any("tcp_established" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("keys", "asked", "refused"),
    [
        ({MAX: PLANNED}, {"max": 100000}, "conntrack_max: 100000 asked for, but"),
        ({MAX: PLANNED}, {"max": 200000}, "conntrack_max: 200000 asked for, but"),
        (
            {MAX: PLANNED},
            {"expected_connections": 200000},
            "conntrack_expected_connections: 200000 do not fit, because",
        ),
        ({"hashsize": 32768}, {"entries_per_bucket": 8, "shrink": True}, "conntrack_entries_per_bucket: 8 gives 16384"),
        ({"hashsize": 32768}, {"hashsize": 16384}, "conntrack_hashsize: 16384 gives 16384 buckets, but"),
        ({ESTABLISHED: 86400}, {"timeouts": {"tcp_established": 7440}}, "tcp_established: 7440 asked for, but"),
    ],
    ids=repr,
)
def test_a_variable_and_a_program_are_not_weighed(keys, asked, refused):
    """Both are named, with what the program sets and where that is changed."""
    (refusal,) = made(owners=[kube_proxy(keys)], **asked).refusals
    assert refused in refusal
    (value,) = keys.values()
    assert "process 4711: kube-proxy sets " in refusal
    assert str(value) in refusal
    assert "set conntrack.maxPerCore" in refusal


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ({MAX: PLANNED}, {"max": PLANNED}),
        ({MAX: PLANNED}, {"expected_connections": 60000}),
        ({MAX: 4 * PLANNED}, {"max": 4 * PLANNED, "memory_percent": 10}),
        # Buckets it only raises.
        ({"hashsize": 32768}, {"hashsize": 65536}),
        ({"hashsize": 32768}, {"entries_per_bucket": 2}),
        ({ESTABLISHED: 86400}, {"timeouts": {"tcp_established": 86400}}),
    ],
    ids=repr,
)
def test_a_variable_that_agrees_with_a_program(keys, asked):
    assert made(owners=[kube_proxy(keys)], **asked).refusals == []


@pytest.mark.parametrize(
    ("theirs", "asked", "bound"),
    [
        (100000000, {}, "conntrack_max_ceiling"),
        (100000000, {}, "conntrack_memory_percent"),
        (PLANNED + 1, {"max_ceiling": PLANNED}, "conntrack_max_ceiling"),
        (4 * PLANNED, {}, "conntrack_memory_percent"),
        (65535, {}, "conntrack_max_floor"),
    ],
)
def test_bounds_bind_programs_too(theirs, asked, bound):
    refusals = [refusal for refusal in made(owners=[kube_proxy({MAX: theirs})], **asked).refusals if bound in refusal]
    assert len(refusals) == 1
    assert "process 4711: kube-proxy sets {0}".format(theirs) in refusals[0]


def test_a_timeout_of_a_program_below_its_floor_is_refused_where_floors_are_enforced():
    keys = {"net.netfilter.nf_conntrack_udp_timeout": 10}
    found = made(owners=[kube_proxy(keys)], changes={"kernel.nat": True}, rfc_floors="enforce")
    (refusal,) = found.refusals
    assert "udp: process 4711: kube-proxy sets it to 10" in refusal
    assert "RFC 4787" in refusal


def test_more_buckets_of_a_program_are_planned_for():
    found = made(owners=[kube_proxy({"hashsize": 2 * PLANNED})])
    assert found.buckets == found.hashsize == 2 * PLANNED
    assert found.refusals == []


def test_a_file_that_others_than_root_may_write_is_warned_of():
    there = {"exposed": [{"path": "/etc/sysctl.d/zz.conf", "why": "everybody may write /etc/sysctl.d/zz.conf"}]}
    found = made(changes=there)
    assert (found.max, found.refusals) == (PLANNED, [])
    (warning,) = [warning for warning in found.warnings if "everybody may write" in warning]
    assert "/etc/sysctl.d/zz.conf" in warning


def test_root_does_not_write_where_others_can():
    there = {"exposed": [{"path": "/etc/sysctl.d", "why": "everybody may write /etc/sysctl.d"}]}
    (refusal,) = made(changes=there).refusals
    assert "everybody may write /etc/sysctl.d, so that root cannot write there safely" in refusal
    path = "/etc/firewalld/firewalld.conf"
    lines = [{"path": path, "line": 1, "text": "CleanupModulesOnExit=yes"}]
    services = {"services.firewalld": {"unloads": True}, "assignments": examples.assignments(unloading=lines)}
    assert [drift.kind for drift in made(changes=services).drift].count("service") == 1
    there = {"exposed": [{"path": path, "why": "group 7 may write /etc/firewalld"}]}
    found = made(changes=dict(services, **there))
    assert (found.refusals, [drift for drift in found.drift if drift.kind == "service"]) == ([], [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/sysctl.d/\\x1b.conf", "net.netfilter.nf_conntrack_max = 5"),
        ("/etc/sysctl.d/zz.conf... (99 more)", "net.netfilter.nf_conntrack_max = 5"),
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max = 5\\x1b"),
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max = 5... (99 more)"),
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max = " + "5" * 267 + "... (99 more)"),
    ],
)
def test_what_is_shown_otherwise_than_it_is_cannot_be_taken_over(path, text):
    (refusal,) = made(sysctl(5, file=path, text=text), takeover=True).refusals
    assert refusal.endswith("; take it out there")


UNTOLD = {
    "untold": ["812 processes"],
    "table.max": 4 * PLANNED,
    "table.buckets": 4 * PLANNED,
    "table.expect_max": 99999,
}


@pytest.mark.parametrize("asked", [{}, {"max": PLANNED}, {"hashsize": PLANNED}], ids=repr)
def test_nothing_is_lowered_where_not_all_was_told(asked):
    found = made(changes=UNTOLD, shrink=True, memory_percent=10, max_ceiling=PLANNED, **asked)
    assert (found.max, found.buckets, found.expect_max, found.refusals) == (4 * PLANNED, 4 * PLANNED, 99999, [])
    assert any("nothing is lowered" in warning and "812 processes" in warning for warning in found.warnings)
    told = made(changes=dict(UNTOLD, untold=[]), shrink=True, memory_percent=10, max_ceiling=PLANNED, **asked)
    assert told.max == PLANNED


@pytest.mark.parametrize(
    "owner",
    [
        kube_proxy({MAX: 1000}, at_boot=False),
        kube_proxy({MAX: None}),
        kube_proxy({MAX: 1000}, path="/etc/ufw/sysctl.conf"),
    ],
    ids=["only once", "nobody knows what", "a line, which can go"],
)
def test_owners_that_are_not_stepped_aside_for(owner):
    assert made(owners=[owner]).max == PLANNED


def test_an_image_has_none_of_the_programs_of_the_host_that_builds_it():
    assert made(owners=[kube_proxy({MAX: 1000})], apply=False).max == PLANNED


def test_a_host_on_which_a_program_sets_less_than_is_in_force():
    owner = kube_proxy({MAX: 100000})
    changes = as_planned(made(owners=[owner], changes={"table.max": 120000}))
    assert made(owners=[owner], changes=changes).converged


@pytest.mark.parametrize(
    ("keeps", "warned"),
    [
        ({"active": True, "sync": True, "hash_size": 32768, "hash_limit": 131071}, True),
        ({"active": True, "sync": True, "hash_size": 32768, "hash_limit": 131072}, False),
        ({"active": True, "sync": False, "hash_size": 32768, "hash_limit": 1}, False),
        ({"active": False, "sync": True, "hash_size": 32768, "hash_limit": 1}, False),
        (None, False),
    ],
)
def test_a_conntrackd_that_keeps_fewer_entries_is_told_of(keeps, warned):
    found = examples.planned({"services.conntrackd": keeps}, max=131072)
    assert found.warnings == [
        "conntrackd: keeps 131071 entries for another node (HashLimit), fewer than the limit 131072; set HashLimit 262144 and "
        "HashSize 65536 in /etc/conntrackd/conntrackd.conf, and restart it"
    ] * int(warned)
