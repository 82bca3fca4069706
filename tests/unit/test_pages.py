# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Pages that a command of the tree makes are what it makes now."""

import os
import subprocess
import sys

import pytest

on_controllers = pytest.mark.skipif(sys.version_info < (3, 10), reason="tools are for the controller's Pythons")
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@on_controllers
def test_the_page_of_timeouts_says_what_the_profiles_say():
    made = subprocess.check_output([sys.executable, os.path.join(HOME, "tools", "timeouts.py")]).decode("utf-8")
    with open(os.path.join(HOME, "docs", "timeouts.md"), encoding="utf-8") as page:
        assert page.read() == made


BEFORE = {"nf_conntrack_max": 1000, "nf_conntrack_buckets": 512, "nf_conntrack_udp_timeout": 30}


@on_controllers
@pytest.mark.parametrize(
    ("after", "lowest", "reloaded", "said"),
    [
        (BEFORE, 1000, False, "kept"),
        (BEFORE, None, True, "kept (reloaded)"),
        (BEFORE, 4096, True, "kept (reloaded)"),
        (BEFORE, 999, True, "kept; dipped to 999 (reloaded)"),
        (dict(BEFORE, nf_conntrack_max=500), 500, False, "**lost**: limit 1000 -> 500"),
        (dict(BEFORE, nf_conntrack_max=2000), 1000, False, "**lost**: limit 1000 -> 2000"),
        (dict(BEFORE, nf_conntrack_buckets=1024), 800, True, "**lost**: buckets 512 -> 1024; dipped to 800 (reloaded)"),
        (dict(BEFORE, nf_conntrack_udp_timeout=10), 1000, False, "**lost**: 1 timeout"),
        ({}, 1000, True, "**lost**: the module is not loaded (reloaded)"),
    ],
)
def test_a_value_that_is_another_or_was_lower_meanwhile_is_not_kept(after, lowest, reloaded, said):
    page = survival_page()
    cell = page.Cell("trixie", "role", 1, reloaded, BEFORE, after, lowest)
    assert page.verdict(cell) == said
    assert cell.kept == (said in ("kept", "kept (reloaded)"))


@on_controllers
def test_kept_is_said_only_of_what_was_kept_on_every_release():
    page = survival_page()
    names = page.Names({1: "restart"}, {"role": ("this role", "")})
    kept = [page.Cell(release, "role", 1, True, BEFORE, BEFORE, None) for release in page.RELEASES]
    lost = [cell._replace(after={}) for cell in kept]

    def said(*cells):
        return page.summary(cells, names).splitlines()[-1]

    assert said(*kept) == "| restart | kept |"
    assert said(*kept[:2]) == "| restart | not measured on trixie |"
    assert said(*kept[:2], lost[2]) == "| restart | **lost** on trixie |"
    assert said(kept[0], lost[1]) == "| restart | **lost** on bookworm; not measured on trixie |"
    assert said(*lost) == "| restart | **lost** |"


@on_controllers
def test_a_table_takes_the_place_between_its_marks():
    page = survival_page()
    text = "before\n" + page.BEGIN + "old\n" + page.END + "after\n"
    assert page.within(text, "new") == text.replace("old", "new")


def survival_page():
    if HOME not in sys.path:
        sys.path.insert(0, HOME)
    from tests.survival import page

    return page


@on_controllers
def test_the_tables_of_what_survives_say_what_was_measured():
    assert subprocess.check_output([sys.executable, "-m", "tests.survival.page"], cwd=HOME) == b""


def outcome_page():
    if HOME not in sys.path:
        sys.path.insert(0, HOME)
    from tests.outcome import page

    return page


@on_controllers
@pytest.mark.parametrize(
    ("predicted", "found", "differing"),
    [
        (1000, {"max": 1000}, 0),
        (1000, {"max": 999}, 1),
        (1000, {}, 1),
        (1000, {"max": 1000, "udp_timeout": 30}, 1),
        (None, {}, 0),
        (None, {"max": 1000}, 1),
    ],
    ids=["as predicted", "another", "not loaded", "one more", "cannot be loaded", "loaded all the same"],
)
def test_a_prediction_is_of_every_value(predicted, found, differing):
    page = outcome_page()
    key = "net.netfilter.nf_conntrack_"
    told = {page.LIMIT: {"value": predicted, "source": "somewhere:1"}}
    case = page.case("trixie", "host", "boot", told, {key + name: value for name, value in found.items()})
    assert len(case.differing) == differing
    row = page.summary([case._replace(host=page.HOSTS[0].name)]).splitlines()[2]
    assert ("as predicted" in row) is (differing == 0)


@on_controllers
def test_the_page_of_outcomes_says_what_was_measured():
    assert subprocess.check_output([sys.executable, "-m", "tests.outcome.page"], cwd=HOME) == b""
