# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""One change of a golden host: what it writes, what it refuses, and what it answers."""

import json
import os
import stat

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import rollback
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import UNIT
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.heads import HOME
from ansible_collections.headroom.netfilter.tests.unit import changes
from ansible_collections.headroom.netfilter.tests.unit.changes import (
    AGAIN,
    MODPROBE,
    OTHER,
    REQUEST,
    SYSCTL,
    UDEV,
    Machine,
)
from ansible_collections.headroom.netfilter.tests.unit.fakes import HASHSIZE, LOOSE, MAX, MAX_KEY, UDP, ChangedHost


@pytest.fixture
def machine(memory):
    return Machine(memory)


def refused(machine, options, host=None, check=False):
    with pytest.raises(ChangeError) as caught:
        run(host or machine.host(), read(options), check)
    return caught.value


def test_all_of_it_is_made_and_told(machine):
    host = machine.host()
    before = machine.state()
    answer = run(host, read(REQUEST))
    assert (answer["changed"], answer["id"], answer["state"]) == (True, "first", "kept")
    set_too = {"net.netfilter.nf_conntrack_udp_timeout": 60, "net.netfilter.nf_conntrack_tcp_loose": 0}
    assert answer["after"] == {"hashsize": 16384, MAX_KEY: 100000, **set_too}
    assert [host.value(path) for path in (HASHSIZE, MAX, UDP, LOOSE)] == [16384, 100000, 60, 0]
    for file in REQUEST["files"]:
        assert machine.text(file["path"]) == file["content"]
        assert stat.S_IMODE(os.lstat(host.path(file["path"])).st_mode) == 0o644
    assert "# net.ipv4.ip_forward = 1\n" in machine.text(OTHER)
    # Everything else is what it was: no file was left behind.
    changed = {file["path"] for file in REQUEST["files"]} | {OTHER, os.path.dirname(UDEV)}
    after = machine.state()
    assert {path for path in set(before[0]) | set(after[0]) if before[0].get(path) != after[0].get(path)} == changed
    assert answer["facts"]["history"]["last"] == answer["facts"]["history"]["changes"][0]
    assert answer["facts"]["history"]["last"]["state"] == "kept"
    assert answer["facts"]["table"]["max"] == 100000


def test_check_mode_foretells_it_and_writes_nothing(machine):
    whole = machine.everything()
    host = machine.host()
    checked = run(host, read(REQUEST), check=True)
    assert (host.calls, machine.everything()) == ([], whole)
    made = run(machine.host(), read(REQUEST))
    for name in ("changed", "before", "after", "diff", "reboot_needed"):
        assert checked[name] == made[name]


def test_the_diff_is_of_each_file_and_of_the_values(machine):
    shown = {one["before_header"]: one for one in run(machine.host(), read(REQUEST), check=True)["diff"]}
    assert list(shown) == [file["path"] for file in REQUEST["files"]] + [OTHER, "live kernel"]
    assert (shown[SYSCTL]["before"], shown[SYSCTL]["after"]) == ("", REQUEST["files"][0]["content"])
    assert shown[OTHER]["before"] == changes.OTHER_TEXT
    assert shown[OTHER]["after"] == changes.OTHER_TEXT.replace(" net.ipv4.ip_forward = 1", "# net.ipv4.ip_forward = 1")
    assert shown["live kernel"]["after"].splitlines()[0] == "hashsize = 16384"


def test_a_file_whose_mode_alone_differs_is_written_and_shown(machine):
    request = {"files": [{"path": SYSCTL, "content": "# mine\n"}]}
    run(machine.host(), read(request))
    os.chmod(machine.host().path(SYSCTL), 0o600)
    (shown,) = run(machine.host(), read(request))["diff"]
    assert (shown["before"][:9], shown["after"][:9]) == ("mode 0600", "mode 0644")
    assert stat.S_IMODE(os.lstat(machine.host().path(SYSCTL)).st_mode) == 0o644


def test_the_second_time_changes_nothing(machine):
    run(machine.host(), read(REQUEST))
    whole = machine.everything()
    host = machine.host()
    answer = run(host, read(AGAIN))
    assert (answer["changed"], answer["state"], host.calls) == (False, "none", [])
    assert machine.everything() == whole


def test_the_same_run_again_gets_the_same_answer(machine):
    made = run(machine.host(), read(REQUEST))
    whole = machine.everything()
    again = run(machine.host(), read(REQUEST))
    assert {name: again[name] for name in made if name != "facts"} == {
        name: made[name] for name in made if name != "facts"
    }
    assert machine.everything() == whole


def test_a_failed_run_again_fails_again(machine):
    host = machine.host()
    request = dict(REQUEST, expected={"boot": {MAX_KEY: 7}})
    first = refused(machine, request, host)
    assert "net.netfilter.nf_conntrack_max: 100000 after the next boot" in str(first)
    again = refused(machine, request)
    assert (str(again), again.told) == (str(first), first.told)


# What is asked for, what is said. Nothing may be written, in check mode as in earnest.
REFUSED = [
    ("refusals", {"refusals": ["no", "never"]}, "refused: no; never"),
    ("a file that has changed", {"files": [dict(REQUEST["files"][0], found=64 * "0")]}, "changed since it was read"),
    (
        "a file that has come",
        {"files": [{"path": OTHER, "content": "x", "found": ""}]},
        OTHER + ": changed since it was read; run again",
    ),
    ("a line that has gone", {"lines": [{"path": OTHER, "found": "a=1", "wanted": "b"}]}, "there is no line 'a=1'"),
    ("a file that has gone", {"lines": [{"path": "/etc/none", "found": "a", "wanted": "b"}]}, "/etc/none: changed"),
    ("a value that has changed", {"max": 100000, "found": {MAX_KEY: 1}}, "1 planned from, 8192 found: changed since"),
    ("the live values, in the same words as ever", {"max": 300}, "300 asked for, but 8192 is in force"),
    ("a folder in its place", {"files": [{"path": "/etc/sysctl.d", "content": "x"}]}, "no regular file, nor a link"),
    ("two texts for a file", {"files": REQUEST["files"] + REQUEST["files"]}, "named twice"),
    ("a path that goes up", {"files": [{"path": "/etc/../x", "content": ""}]}, "expected a path from / on"),
    ("a line of two", {"lines": [{"path": OTHER, "found": "a", "wanted": "b\nc"}]}, "expected one line"),
    ("a name of a change", {"id": "../x"}, "expected up to 64 letters"),
]


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize(("options", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_before_anything_is_written(machine, options, said, check):
    whole = machine.everything()
    if "refusals" not in options:
        options = dict(options, id=options.get("id", "x"))
    try:
        error = refused(machine, options, check=check)
    finally:
        assert machine.everything() == whole
    assert said in str(error)
    assert error.told.get("stale", False) is ("changed since it was read" in str(error))


def test_what_has_come_to_be_as_asked_meanwhile_is_no_reason_to_plan_anew(machine):
    run(machine.host(), read(REQUEST))
    first = REQUEST["files"][0]
    seen = {"files": [dict(first, found="")], "max": REQUEST["max"], "found": {MAX_KEY: 1}, "id": "y"}
    assert run(machine.host(), read(seen))["changed"] is False


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_a_hold_keeps_a_host_from_being_changed(machine, check):
    machine.write("/etc/headroom/netfilter.hold", "frozen until Monday\n")
    whole = machine.state()
    error = refused(machine, REQUEST, check=check)
    assert "/etc/headroom/netfilter.hold keeps this host from being changed: frozen until Monday" in str(error)
    assert machine.state() == whole
    assert not os.path.exists(machine.host().path(HOME))


def test_a_hold_is_no_matter_where_there_is_nothing_to_change(machine):
    run(machine.host(), read(REQUEST))
    machine.write("/etc/headroom/netfilter.hold", "frozen\n")
    assert run(machine.host(), read(AGAIN))["changed"] is False


@pytest.mark.parametrize("target", ["/dev/null", "elsewhere.conf"], ids=["a mask", "a link to a file"])
def test_a_link_in_the_place_of_a_file_is_refused_by_name(machine, target):
    os.symlink(target, machine.host().path(SYSCTL))
    error = refused(machine, {"files": REQUEST["files"]})
    assert "{0}: a link to {1} is there".format(SYSCTL, target) in str(error)
    assert ("to mask it" in str(error)) is (target == "/dev/null")
    assert os.readlink(machine.host().path(SYSCTL)) == target


def test_a_link_is_taken_over_and_what_it_leads_to_stays(machine):
    machine.write("/etc/sysctl.d/elsewhere.conf", "a = 1\n")
    os.symlink("elsewhere.conf", machine.host().path(SYSCTL))
    run(machine.host(), read({"files": AGAIN["files"][:1], "takeover": True}))
    assert not os.path.islink(machine.host().path(SYSCTL))
    assert machine.text("/etc/sysctl.d/elsewhere.conf") == "a = 1\n"


def test_a_failure_gives_a_link_back_as_a_link(machine):
    os.symlink("/dev/null", machine.host().path(SYSCTL))
    before = machine.state()
    error = refused(machine, dict(REQUEST, takeover=True, expected={"boot": {MAX_KEY: 7}}))
    assert error.told["state"] == "undone"
    assert SYSCTL in error.told["restored"]
    assert machine.state() == before


def test_folders_that_are_there_keep_their_mode(machine):
    host = machine.host()
    for folder, mode in (("/etc/sysctl.d", 0o2750), ("/etc/modprobe.d", 0o700)):
        os.chmod(host.path(folder), mode)
    run(host, read(REQUEST))
    assert stat.S_IMODE(os.lstat(host.path("/etc/sysctl.d")).st_mode) == 0o2750
    assert stat.S_IMODE(os.lstat(host.path("/etc/modprobe.d")).st_mode) == 0o700
    # This one was not.
    assert stat.S_IMODE(os.lstat(host.path("/etc/udev/rules.d")).st_mode) == 0o755


def test_every_line_that_is_so_is_swapped_and_all_else_stays_byte_for_byte(machine):
    text = b"# \xff\na=1\r\n  a=1\t\nb=2\na=1"
    with open(machine.host().path("/etc/other"), "wb") as target:
        target.write(text)
    os.chmod(machine.host().path("/etc/other"), 0o640)
    run(machine.host(), read({"lines": [{"path": "/etc/other", "found": " a=1", "wanted": "# a=1"}]}))
    with open(machine.host().path("/etc/other"), "rb") as source:
        assert source.read() == b"# \xff\n# a=1\r\n# a=1\nb=2\n# a=1"
    assert stat.S_IMODE(os.lstat(machine.host().path("/etc/other")).st_mode) == 0o640


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (b"b=1\n", b"b=1\na=1\n"),
        (b"b=1", b"b=1\na=1\n"),
        (b"", b"a=1\n"),
        (b"# \xff\n\n\n", b"# \xff\n\n\na=1\n"),
        (b"a=1\nb=1\n", b"a=1\nb=1\na=1\n"),
        (b"b=1\n a=1\n\n", b"b=1\n a=1\n\n"),
        (None, b"a=1\n"),
    ],
    ids=repr,
)
def test_a_line_that_is_found_nowhere_is_added_and_taken_away_again(machine, text, after):
    path = "/etc/other"
    at = machine.host().path(path)
    if text is not None:
        with open(at, "wb") as target:
            target.write(text)
        os.chmod(at, 0o640)
    before = machine.state()
    request = {"lines": [{"path": path, "found": "", "wanted": "a=1"}], "id": "x"}
    answer = run(machine.host(), read(request))
    with open(at, "rb") as source:
        assert source.read() == after
    assert stat.S_IMODE(os.lstat(at).st_mode) == (0o644 if text is None else 0o640)
    assert answer["changed"] is (text != after)
    assert run(machine.host(), read(dict(request, id="y")))["changed"] is False
    if text != after:
        rollback.run(machine.host(), "x", 60, "bob", False)
    assert machine.state() == before


def test_a_line_is_swapped_and_another_added_in_one_file(machine):
    lines = [{"found": "b=1", "wanted": "b=2"}, {"found": "", "wanted": "a=1"}]
    at = machine.host().path("/etc/other")
    with open(at, "wb") as target:
        target.write("\u00a0b=1\u00a0\nb=3".encode("utf-8"))
    run(machine.host(), read({"lines": [dict(line, path="/etc/other") for line in lines]}))
    with open(at, "rb") as source:
        assert source.read() == b"b=2\nb=3\na=1\n"


@pytest.mark.parametrize(
    ("will", "said"),
    [
        ({"value": 100000, "source": "x"}, None),
        ({"kind": "value", "value": 100000, "source": "x"}, None),
        ({"kind": "default", "value": 100000, "source": "x"}, None),
        (
            {"kind": "value", "value": 5, "source": "/etc/a:1"},
            MAX_KEY + ": 5 after the next boot (/etc/a:1), 100000 plan",
        ),
        ({"kind": "fails", "value": 100000, "source": "/etc/a:1: x"}, "after the next boot (/etc/a:1: x)"),
        ({"kind": "untold", "value": 100000, "source": "why"}, "after the next boot (why)"),
        ({"kind": "absent", "value": None, "source": "why"}, "None after the next boot (why)"),
        (None, "None after the next boot (nothing is known of it)"),
    ],
    ids=["as it was", "value", "default", "another", "fails", "untold", "absent", "missing"],
)
def test_what_fails_or_is_untold_proves_nothing(will, said):
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import prove

    asked = read({"expected": {"boot": {MAX_KEY: 100000}}})
    facts = {"outcome": {"boot": {MAX_KEY: will} if will else {}, "reload": {}}}
    if said is None:
        prove(None, asked, [], [], facts)
        return
    with pytest.raises(ChangeError) as caught:
        prove(None, asked, [], [], facts)
    assert said in str(caught.value)


def test_what_waits_for_a_boot_is_named(machine):
    request = {"files": AGAIN["files"], "expected": {"boot": {MAX_KEY: 100000}}}
    assert run(machine.host(), read(request), check=True)["reboot_needed"] == [MAX_KEY]
    assert run(machine.host(), read(request))["reboot_needed"] == [MAX_KEY]
    assert run(machine.host(), read(dict(request, max=100000)))["reboot_needed"] == []


def test_an_image_gets_its_files_and_nothing_else(machine):
    host = machine.host()
    answer = run(host, read(dict(REQUEST, target="image")))
    assert (answer["changed"], answer["before"]) == (True, {})
    assert machine.text(SYSCTL) == REQUEST["files"][0]["content"]
    assert not os.path.exists(host.path(HOME))
    assert host.value(MAX) == 8192
    assert host.ran == []


def test_an_image_is_undone_as_well(machine):
    before = machine.state()
    error = refused(machine, dict(REQUEST, target="image", expected={"boot": {MAX_KEY: 7}}))
    assert "again what it was before" in str(error)
    assert machine.state() == before


@pytest.mark.parametrize("there", [False, True], ids=["no udevadm", "udevadm"])
def test_udev_is_asked_to_read_its_rules_where_there_is_one(machine, there):
    if there:
        machine.write("/usr/bin/udevadm", "")
        os.chmod(machine.host().path("/usr/bin/udevadm"), 0o755)
    host = machine.host()
    run(host, read(REQUEST))
    asked = [["/usr/bin/udevadm", "control", "--reload"]] if there else []
    assert host.ran == asked
    # Not for another file.
    again = machine.host()
    run(again, read({"files": [{"path": MODPROBE, "content": "# other\n"}]}))
    assert again.ran == []


@pytest.mark.parametrize("runs", [False, True], ids=["no systemd", "systemd"])
def test_systemd_is_asked_to_read_its_units_where_it_runs(machine, runs):
    machine.write("/usr/bin/systemctl", "")
    os.chmod(machine.host().path("/usr/bin/systemctl"), 0o755)
    if runs:
        machine.write("/run/systemd/system/a.mount", "")
    host = machine.host()
    run(host, read({"files": [{"path": UNIT, "content": "[Unit]\n"}]}))
    asked = [["/usr/bin/systemctl", "daemon-reload"]] if runs else []
    assert host.ran == asked
    again = machine.host()
    run(again, read({"files": [{"path": MODPROBE, "content": "# other\n"}]}))
    assert again.ran == []


def test_what_is_kept_is_for_root_alone(machine):
    run(machine.host(), read(REQUEST))
    folder = machine.host().path(HOME + "/first")
    assert stat.S_IMODE(os.lstat(folder).st_mode) == 0o700
    for name in os.listdir(folder):
        assert stat.S_IMODE(os.lstat(os.path.join(folder, name)).st_mode) == 0o600
    with open(os.path.join(folder, "journal.json"), encoding="ascii") as source:
        said = json.load(source)
    assert (said["version"], said["who"], said["machine"]) == (2, "ann@control", "0123")


def test_one_line_of_each_change_goes_to_the_log(machine):
    import socket

    path = machine.host().path("/dev/log")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Its name has to be short.
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        os.chdir(os.path.dirname(path))
        try:
            log.bind("log")
        finally:
            os.chdir(here)
        log.settimeout(5)
        if len(path) > 100:
            pytest.skip("the folder of the tests has too long a name for a socket")
        run(machine.host(), read(REQUEST))
        line = log.recv(4096).decode()
    assert line.startswith("<85>")
    for part in ("change first of ann@control kept: ", MAX_KEY + " 8192 -> 100000", SYSCTL + " none -> "):
        assert part in line
    assert "\n" not in line


class Shared(ChangedHost):
    """One on which others than root may write in a folder."""

    def exposed(self, path):
        return "everybody may write /etc/sysctl.d" if path.startswith("/etc/sysctl.d") else None


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize(
    "options",
    [{"files": REQUEST["files"][:1]}, {"lines": REQUEST["lines"]}],
    ids=["a file", "a line"],
)
def test_nothing_is_written_where_others_may_write(machine, options, check):
    whole = machine.everything()
    error = refused(machine, options, Shared("debian12", machine.root), check)
    assert "everybody may write /etc/sysctl.d, so that" in str(error)
    assert machine.everything() == whole


def test_a_failure_has_udev_read_its_rules_as_they_were(machine):
    machine.write("/usr/bin/udevadm", "", 0o755)
    host = machine.host()
    refused(machine, dict(REQUEST, expected={"boot": {MAX_KEY: 7}}), host)
    assert host.ran == [["/usr/bin/udevadm", "control", "--reload"]] * 2
