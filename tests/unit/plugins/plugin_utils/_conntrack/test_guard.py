# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What is handed on of an answer, as a module prints it and as ansible-core gives it to an action."""

import itertools
import json
from types import SimpleNamespace

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import BY_MODULE
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS as CHECK
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import handed_on, may_be_piped, sifted
from ansible_collections.headroom.netfilter.tests.unit import examples

FACTS, SETTINGS = BY_MODULE["conntrack_facts"], BY_MODULE["conntrack_settings"]


def facts(changes=()):
    """With what follows from them."""
    return {**CHECK(examples.facts()), **dict(changes)}


GOOD = {"changed": False, "ansible_facts": {"conntrack": facts()}}
CHANGED = {
    "changed": True,
    "id": "a-1",
    "state": "kept",
    "before": {"hashsize": 1},
    "after": {"hashsize": 2},
    "reboot_needed": [],
    "facts": facts(),
}
SHOWN = {"before": "hashsize = 1\n", "after": "hashsize = 2\n", "before_header": "live", "after_header": "live"}
DIFF = [SHOWN]


def printed(text, answer=FACTS, stderr=""):
    """What ansible-core gets to read."""
    return sifted(answer, {"rc": 0, "stdout": text, "stderr": stderr})


def read(text, answer=FACTS):
    return json.loads(printed(text, answer)["stdout"])


def test_an_answer_is_handed_on():
    assert handed_on(FACTS, GOOD) == GOOD
    assert handed_on(SETTINGS, {**CHANGED, "diff": DIFF}) == {**CHANGED, "diff": DIFF}
    assert read(json.dumps(GOOD)) == {**GOOD, "warnings": []}


@pytest.mark.parametrize(
    "more",
    [
        {"add_host": {"host_name": "x"}},
        {"add_group": "x"},
        {"unreachable": True},
        {"skipped": True},
        {"notify": ["x"], "_ansible_notify": ["x"]},
        {"deprecations": [{"msg": "x"}]},
        {"_ansible_no_log": True, "_ansible_verbose_always": True, "_ansible_item_label": "x"},
        {"ansible_stats": {"data": {"x": 1}}},
        {"include": "x", "include_args": {}, "results": [], "ansible_loop": {}, "ansible_loop_var": "x"},
        {"rc": 1, "stdout": "x", "stderr": "x", "exception": "x", "module_stdout": "x"},
        {"ansible_job_id": "1", "started": 1, "finished": 0},
        {"invocation": {"module_args": {"x": 1}}},
        {"diff": {"before": "x"}},
        {"ansible_facts": {**GOOD["ansible_facts"], "discovered_interpreter_python": "x"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_nothing_else_is_handed_on(more):
    assert handed_on(FACTS, {**GOOD, **more}) == GOOD
    assert read(json.dumps({**GOOD, **more})) == {**GOOD, "warnings": []}


@pytest.mark.parametrize(
    ("answer", "said", "path"),
    [
        (
            FACTS,
            {"ansible_facts": {**GOOD["ansible_facts"], "audit_report": 1}},
            "ansible_facts.audit_report: expected nothing",
        ),
        (
            FACTS,
            {"ansible_facts": {"conntrack": facts({"namespaces": [7]})}},
            "ansible_facts.conntrack.namespaces[0]: expected",
        ),
        (FACTS, {"ansible_facts": [1]}, "ansible_facts: expected a mapping, found a list of 1"),
        (FACTS, {"ansible_facts": None}, "ansible_facts: expected a mapping, found nothing"),
        (FACTS, {}, "ansible_facts.conntrack: expected a value, found none of that name"),
        (FACTS, {**GOOD, "changed": "yes"}, "changed: expected true or false, found 'yes'"),
        (FACTS, {**GOOD, "failed": {"a": 1}}, "failed: expected true or false, found a mapping of 1"),
        (
            SETTINGS,
            {**CHANGED, "ansible_facts": {"conntrack": facts()}},
            "ansible_facts.conntrack: expected nothing of that name",
        ),
        (
            SETTINGS,
            {name: CHANGED[name] for name in CHANGED if name != "after"},
            "after: expected a value, found none of that name",
        ),
        (SETTINGS, {**CHANGED, "after": {"x y": 1}}, "after: expected names"),
        (SETTINGS, {**CHANGED, "diff": "x"}, "diff: expected a list, found 'x'"),
        (SETTINGS, {**CHANGED, "diff": [{**SHOWN, "before": 1}]}, "diff[0].before: expected a text"),
    ],
)
def test_what_does_not_fit_fails(answer, said, path):
    for found in (handed_on(answer, said), read(json.dumps(said), answer)):
        assert (found["failed"], found["changed"]) == (True, False)
        assert found["msg"].startswith(f"headroom.netfilter.{answer.module}: {path}")
        assert "ansible_python_interpreter" in found["msg"]
        assert set(found) <= {"failed", "changed", "msg", "warnings"}


def test_no_mapping_at_all():
    assert "the answer: expected a mapping, found 7" in handed_on(FACTS, 7)["msg"]


def test_a_module_that_fails():
    said = {
        "failed": True,
        "msg": "max: 5 will not do",
        "exception": "(traceback unavailable)",
        "before": {},
        "invocation": {},
    }
    wanted = {"failed": True, "msg": "max: 5 will not do", "exception": "(traceback unavailable)"}
    assert handed_on(SETTINGS, said) == wanted
    assert read(json.dumps(said), SETTINGS) == {**wanted, "warnings": []}


def test_what_a_module_that_fails_has_left_is_checked_as_well():
    told = {"id": "a-1", "state": "undone", "restored": ["/etc/\x1b"], "not_restored": [], "stale": True}
    said = {"failed": True, "msg": "m", **told}
    assert handed_on(SETTINGS, said) == {**said, "restored": ["/etc/\\x1b"]}
    assert handed_on(FACTS, said) == {"failed": True, "msg": "m"}
    for name, value in (("stale", "yes"), ("id", "a b"), ("restored", [7]), ("state", "fine")):
        assert f"{name}" in handed_on(SETTINGS, {**said, name: value})["msg"]
        assert "stale" not in handed_on(SETTINGS, {**said, name: value})


def test_a_module_that_crashed():
    """Under ansible-core 2.19 and later the traceback lies deeper; what is left of one that printed none is ansible-core's."""
    event = {"__ansible_type": "Event", "msg": "x", "formatted_traceback": "Traceback\x1b"}
    said = {"failed": True, "msg": "m", "exception": {"__ansible_type": "ErrorSummary", "event": event}}
    assert handed_on(FACTS, said)["exception"] == "Traceback\\x1b"
    left = {"failed": True, "msg": "MODULE FAILURE", "module_stdout": "a\nb", "module_stderr": "\x1b" * 10**6, "rc": 1}
    found = handed_on(FACTS, {**left, "exception": object(), "ansible_facts": {"x": 1}})
    assert {name: found[name] for name in ("failed", "msg", "module_stdout", "rc")} == {
        name: left[name] for name in ("failed", "msg", "module_stdout", "rc")
    }
    assert len(found["module_stderr"]) <= 8000
    assert set(found["module_stderr"]) <= set("\\x1b.")


@pytest.mark.parametrize(
    "msg", ["\x1b" * 5000, "x" * 10**6, ["x"] * 10**5, {"a": 1}, None, 10**5000], ids=itertools.count()
)
def test_messages_are_bounded_and_escaped(msg):
    found = handed_on(FACTS, {"failed": True, "msg": msg})["msg"]
    assert len(found) <= 2000
    assert found.isprintable()
    assert handed_on(FACTS, {"failed": True, "msg": found})["msg"] == found


def test_warnings_are_texts():
    """A module under ansible-core 2.19 and later has them in mappings; of what ansible-core has made of them, none is taken twice."""
    event = {"__ansible_type": "Event", "msg": "deep\x1b"}
    said = ["plain", {"__ansible_type": "WarningSummary", "event": event}, 7, None, object(), {"event": 7}, {}]
    assert handed_on(FACTS, {**GOOD, "warnings": said})["warnings"] == ["plain", "deep\\x1b"]
    assert len(handed_on(FACTS, {**GOOD, "warnings": ["x"] * 1000})["warnings"]) == 20
    assert handed_on(FACTS, {**GOOD, "warnings": {"a": 1}}) == GOOD


def test_what_stands_beside_the_answer():
    found = read("Welcome!\r\n" + json.dumps(GOOD) + "\r\n\x1b[2Jbye\n")
    assert found == {**GOOD, "warnings": ["Module invocation had junk after the JSON data: \\x1b[2Jbye"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({**GOOD, "x": "y" * 2**22}), "expected at most 4194304 characters, found "),
        ('{"ansible_facts": ' + "[" * 10**5 + "]" * 10**5 + "}", "expected less depth, found more than can be read"),
    ],
    ids=["giant", "deep"],
)
def test_what_cannot_be_read(text, said):
    assert said in read(text)["msg"]


@pytest.mark.parametrize(
    "text", ["", "Segmentation fault\x1b", "{", "x" * 10**6, '{"a": \x1b}', "[1]"], ids=itertools.count()
)
def test_what_is_no_answer(text):
    found = printed(text, stderr="\x1b" * 10**5)
    assert len(found["stdout"]) <= 8000
    assert len(found["stderr"]) <= 8000
    assert (found["stdout"] + found["stderr"]).isprintable()


class Variables(dict):
    """Of the hosts, as ansible-core has them."""

    raw_get = dict.__getitem__


@pytest.fixture(autouse=True, scope="module")
def known():
    """ansible-core knows the options of a connection once it is loaded."""
    for name in ("ssh", "local"):
        connection_loader.get(name, PlayContext(), None)


def piped(said=(), filled=(), become=None, name="ssh", **connection):
    known = {"is_pipelining_enabled": bool, **connection}
    found = SimpleNamespace(
        _load_name=name, become=become, **{method: value for method, value in known.items() if value is not None}
    )
    own = {"inventory_hostname": "a", **dict(said)}
    return may_be_piped(found, {**own, **dict(filled), "hostvars": Variables(a=own)})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, True),
        ({"name": "local"}, True),
        ({"filled": {"ansible_pipelining": False, "ansible_ssh_pipelining": False}}, True),
        ({"said": {"ansible_pipelining": False}}, False),
        ({"said": {"ansible_ssh_pipelining": False}}, False),
        ({"said": {"ansible_pipelining": "{{ not_here }}"}}, False),
        ({"become": object()}, False),
        # Cores before 2.19, and connections that know no pipelining.
        ({"is_pipelining_enabled": None}, False),
        ({"name": "unheard_of"}, False),
    ],
    ids=["nobody", "local", "filled", "host", "ssh", "template", "become", "old", "unknown"],
)
def test_modules_are_piped_where_nobody_has_said_and_nothing_is_in_the_way(given, expected):
    assert piped(**given) is expected


def test_the_environment_is_heard(monkeypatch):
    monkeypatch.setenv("ANSIBLE_PIPELINING", "False")
    assert piped() is False
    monkeypatch.delenv("ANSIBLE_PIPELINING")
    assert piped() is True


def test_without_variables_of_hosts_nothing_is_asked():
    assert may_be_piped(SimpleNamespace(), {}) is False
