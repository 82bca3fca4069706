# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Each form of a report, and what hosts may be named in it."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import accept, as_html, between
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_csv import HEADS, as_csv, cell
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_junit import as_junit
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_markdown import as_markdown, code
from ansible_collections.headroom.netfilter.tests.unit import reports

OWNER = {
    "name": "x",
    "keys": {"net.netfilter.nf_conntrack_max": 5},
    "evidence": "e",
    "path": "/etc/x",
    "line": 3,
    "text": "t",
    "at_boot": True,
    "remedy": "r",
}


def hostile(name):
    """Hosts that bear a name, or say it of their owners, or answer with it."""
    owned = reports.read(name, {"table.count": 8000, "owners": [{**OWNER, "name": name, "evidence": name}]})
    for finding in owned["findings"]:
        finding["seen"] += name
    return [owned, reports.unreachable("gone", name)]


@pytest.fixture(params=reports.HOSTILE, ids=ascii)
def name(request):
    return request.param


def whole(name):
    """A report with every part there is."""
    report = reports.report(*hostile(name))
    entry = {"id": "established-five-days", "hosts": "*", "reason": "x" + name, "until": "2030-01-01"}
    return between.since(reports.report(reports.read("old")), accept.accept(report, accept.read([entry])))


def test_csv_has_no_formulas(name):
    rows = list(csv.reader(io.StringIO(as_csv(whole(name)), newline="")))
    assert [len(row) for row in rows] == [len(HEADS)] * 3
    assert not [one for row in rows for one in row if one.lstrip().startswith(("=", "+", "-", "@", "|", "%"))]


@pytest.mark.parametrize(
    ("value", "told"),
    [("=1", "'=1"), (" =1", "' =1"), ("-1", "'-1"), ("\t=1", "'\t=1"), (-1, -1), (None, None), ("a=1", "a=1")],
)
def test_a_cell(value, told):
    assert cell(value) == told


def test_junit_is_xml(name):
    tree = ElementTree.fromstring(as_junit(whole(name)).encode("utf-8"))
    suites = {suite.get("name").replace("\ufffd", ""): suite for suite in tree.iter("testsuite")}
    assert len(suites) == 2
    kinds = [child.tag for suite in tree for case in suite for child in case]
    assert sorted(kinds) == ["error", "failure", "failure", "skipped"]
    for suite in tree:
        assert int(suite.get("tests")) == len(suite)
        for kind in ("failure", "error", "skipped"):
            assert int(suite.get({"failure": "failures", "error": "errors"}.get(kind, kind))) == len(
                suite.findall(f"*/{kind}")
            )


def test_a_host_with_nothing_found_and_one_with_what_is_worth_knowing_pass():
    tree = ElementTree.fromstring(as_junit(reports.report(reports.read("a", {"timeouts": {}}), reports.read("b"))))
    cases = {suite.get("name"): [(case.get("name"), [child.tag for child in case]) for case in suite] for suite in tree}
    assert cases == {"a": [("nothing found", [])], "b": [("established-five-days", ["system-out"])]}


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a", "`a`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("``a", "``` ``a ```"),
        ("a|b", r"`a\|b`"),
        ("", "` `"),
        ("  ", "` `"),
        (" a", "`  a `"),
        ("a\nb", r"`a\x0ab`"),
    ],
    ids=ascii,
)
def test_a_code_span(text, span):
    assert code(text) == span


def test_markdown_has_what_hosts_say_in_code_spans(name):
    text = as_markdown(whole(name))
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"[<>@\[\]{$]|!\[|http|script", outside)
    assert "\x1b" not in text
    assert "\u202e" not in text


class Page(HTMLParser):
    """The tags of a page, and what its scripts hold."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.scripts, self._script = [], [], {}, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _value in attrs]
        if tag == "script":
            self._script = dict(attrs).get("id", "code")

    def handle_endtag(self, tag):
        self._script = None if tag == "script" else self._script

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


def test_html_has_no_tags_but_its_own(name):
    page, plain = Page(as_html.as_html(whole(name))), Page(as_html.as_html(whole("plain")))
    assert sorted(page.tags) == sorted(plain.tags)
    assert set(page.attributes) == set(plain.attributes)
    assert not {one for one in page.attributes if one.startswith("on")}
    assert page.scripts["code"] == plain.scripts["code"]
    assert json.loads(page.scripts["data-rows"])["hosts"][0][0] == escaped(name)
    json.loads(page.scripts["data-told"])


def test_html_refers_to_nothing_outside():
    text = as_html.as_html(whole("plain"))
    assert not re.findall(r"\b(src|href)=(?!\"#)|url\(|@import|https?:", text.replace("http-equiv", ""))


def test_hosts_of_which_the_same_is_told_share_it():
    one, many = (
        len(as_html.as_html(reports.report(*(reports.read(f"web{number:03}") for number in range(count)))))
        for count in (1, 101)
    )
    assert (many - one) / 100 < 120


@pytest.mark.parametrize("form", [as_csv, as_junit, as_markdown, as_html.as_html, model.as_json])
def test_a_report_of_no_hosts_has_every_form(form):
    assert form(reports.report())


@pytest.mark.parametrize("form", [as_csv, as_junit, as_markdown, as_html.as_html, model.as_json])
def test_every_form_can_be_written(form, name):
    form(whole(name)).encode("utf-8")
