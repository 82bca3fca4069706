# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Options of a report, and its files."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import store
from ansible_collections.headroom.netfilter.tests.unit import reports

FORMS = ["report.csv", "report.html", "report.json", "report.md", "report.xml"]


@pytest.fixture
def here(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "bad.yml").write_text("- [", encoding="utf-8")
    (tmp_path / "tag.yml").write_text("!!python/object/apply:os.system ['true']", encoding="utf-8")
    (tmp_path / "old.json").write_text(model.as_json(reports.report(reports.read("a"))), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("path", "{0}/file", "expected a folder to write into"),
        ("path", "{0}/file/below", "expected a folder to write into"),
        ("path", ["a"], "audit_report: ['a'] will not do: expected a path"),
        ("path", "a\0b", "expected a path"),
        ("remedies", "{0}/file", "audit_remedies: "),
        ("baseline", "{0}/none", "expected a file that can be read: No such file or directory"),
        ("baseline", "{0}", "expected a file that can be read: Is a directory"),
        ("baseline", "{0}/bytes", "it is no text in UTF-8"),
        ("baseline", "{0}/file", "expected a report.json of version 1: it is no JSON"),
        ("accept", "{0}/bad.yml", "expected YAML: "),
        ("accept", "{0}/tag.yml", "expected YAML: could not determine a constructor"),
        ("accept", "{0}/file", "audit_accept: 'x' will not do: expected a list"),
        ("merge", "{0}/old.json,{0}/none", "merge_reports: "),
        ("merge", [], "merge_reports: [] will not do: expected a list of files"),
        ("merge", 3, "merge_reports: 3 will not do: expected a list of files"),
    ],
)
def test_what_will_not_do_is_told_by_name_and_value(here, option, value, wanted):
    value = value.format(here) if isinstance(value, str) else value
    with pytest.raises(PolicyError) as raised:
        store.read({option: value})
    assert wanted in str(raised.value)
    assert str(raised.value).startswith(store.VARIABLES[option])


@pytest.mark.parametrize("value", [None, ""])
def test_what_is_unset_asks_for_nothing(value):
    assert store.read(dict.fromkeys(store.VARIABLES, value)) == store.Asked()


def test_files_given_as_text_or_as_a_list(here):
    path = f"{here}/old.json"
    assert store.read({"merge": f"{path},{path}"}) == store.read({"merge": [path, path]})


def written(asked, report, check=False):
    return [os.path.basename(one["after_header"]) for one in store.write(store.files(asked, report), check)]


def test_every_form_is_written_once(tmp_path):
    asked = store.read({"path": str(tmp_path / "a/b")})
    report = reports.report(reports.read("a"))
    assert sorted(written(asked, report)) == FORMS
    assert sorted(os.listdir(tmp_path / "a/b")) == FORMS
    assert written(asked, report) == []


def test_check_mode_tells_and_writes_nothing(tmp_path):
    asked = store.read({"path": str(tmp_path / "a"), "remedies": str(tmp_path / "b")})
    assert sorted(written(asked, reports.report(reports.read("a")), check=True)) == [
        *("established-five-days.limit", "established-five-days.yml"),
        *FORMS,
    ]
    assert os.listdir(tmp_path) == []


def test_remedies_of_what_is_gone_are_removed_and_nothing_else(tmp_path):
    asked = store.read({"remedies": str(tmp_path)})
    for name in ("early-drop.yml", "early-drop.limit", "notes.yml"):
        (tmp_path / name).write_text("mine\n", encoding="utf-8")
    written(asked, reports.report(reports.read("a", {"table.count": 8000}), reports.read("b")))
    assert sorted(written(asked, reports.report(reports.read("b")))) == [
        *("established-five-days.limit", "established-five-days.yml"),
        *("table-nearly-full.limit", "table-nearly-full.yml"),
    ]
    assert sorted(os.listdir(tmp_path)) == [
        *("early-drop.limit", "early-drop.yml", "established-five-days.limit", "established-five-days.yml"),
        "notes.yml",
    ]


def test_a_difference_tells_what_was_and_is(tmp_path):
    asked = store.read({"remedies": str(tmp_path)})
    written(asked, reports.report(reports.read("a")))
    told = store.write(store.files(asked, reports.report(reports.read("a"), reports.read("b"))), True)
    (limit,) = [one for one in told if one["after_header"].endswith(".limit")]
    assert (limit["before"], limit["after"]) == ("a\n", "a\nb\n")
    assert (tmp_path / "established-five-days.limit").read_text(encoding="utf-8") == "a\n"
