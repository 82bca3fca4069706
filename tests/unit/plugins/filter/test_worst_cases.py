# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Facts and variables with texts of a megabyte: each filter refuses them, or takes time that grows as their length."""

import contextlib
import importlib
import time
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.headroom.netfilter.tests.unit.examples import facts

pytestmark = pytest.mark.on_one_python

FILTERS = {}
for found in Path(__file__).resolve().parents[4].glob("plugins/filter/conntrack_*.py"):
    module = importlib.import_module(f"ansible_collections.headroom.netfilter.plugins.filter.{found.stem}")
    FILTERS.update(module.FilterModule().filters())

LINE = {
    "path": "/etc/sysctl.conf",
    "line": 6,
    "text": "net.netfilter.nf_conntrack_max = 5",
    "key": "net.netfilter.nf_conntrack_max",
    "value": 5,
    "owner": "sysctl.d",
}
OWNER = {
    "name": "ufw",
    "keys": {"net.netfilter.nf_conntrack_max": 5},
    "evidence": "a line",
    "path": None,
    "line": None,
    "text": None,
    "at_boot": True,
    "remedy": "take it out",
}
WILL_BE = {"net.netfilter.nf_conntrack_max": {"kind": "value", "value": 5, "source": "/etc/sysctl.conf:6"}}
PROBLEM = {"kind": "useless", "severity": "warning", "said": "a problem", "path": "/etc/modprobe.d/a.conf", "line": 5}
FACTS = facts(
    {
        "outcome": {"boot": WILL_BE, "reload": WILL_BE, "overriding": [LINE], "problems": [PROBLEM], "exposed": []},
        "owners": [OWNER, dict(OWNER, path="/etc/ufw/sysctl.conf", line=6, text="a line")],
        "claims": [{"what": "a process", "whose": "user 7", "why": "it is not root's"}],
        "exposed": [{"path": "/etc/sysctl.d/zz.conf", "why": "everybody"}],
        "unreadable": ["/a/path"],
        "untold": ["9 processes"],
    }
)
CENSUS = {
    "source": "ctnetlink",
    "groupings": [
        {"group_by": "state", "top": [{"state": "NEW", "entries": 1, "share": 1.0}], "others": 0, "missed": 0}
    ],
    "stale": {"entries": 0, "share": 0.0, "margin": None, "timeouts": {}},
    "total": 1,
    "unlisted": {"entries": 0, "dying": 0, "unconfirmed": None, "listeners": []},
}
EXPIRED = {
    "shortened": 1,
    "spared": 1,
    "examined": 1,
    "states": [{"shortened": 1, "protocol": "tcp", "state": "NEW", "timeout": 1}],
}
PLAN = {name: [] for name in ("refusals", "warnings", "drift")}
PLAN.update({name: {} for name in ("reasons", "contents", "timeouts", "switches", "live")})
PLAN.update(dict.fromkeys(("max", "buckets", "full_bytes", "expect_max")))
RESULT = {"changed": True, "checked": False, "files_only": False}
KINDS = {
    "blanks": " ",
    "letters": "a",
    "backslashes": "\\",
    "quotes": "'\"",
    "words": "net.netfilter.nf_conntrack_max = ",
    "ends": "a\n",
    "escapes": "\x1b\u202e",
    "brackets": "[({",
    "numbers": "9",
    "dashes": "- ",
}


def replaced(value, text):
    """``value`` with the text in place of each of its own, but for what a rule asks by its name."""
    if isinstance(value, str):
        return text if " " in value or "/" in value else value
    if isinstance(value, dict):
        return {name: replaced(item, text) for name, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, text) for item in value]
    return value


def exempting(text):
    """A census by which traffic is to be left untracked."""
    flow = {"role": "client", "protocol": "udp", "destination_port": 53, "entries": 9000, "share": 0.9, "margin": None}
    tables = {"state": "REPLIED", "destination": text}
    groupings = [
        {"group_by": "role+protocol+destination_port+" + name, "top": [dict(flow, **{name: value})]}
        for name, value in tables.items()
    ]
    return dict(CENSUS, total=10000, examined=10000, groupings=groupings)


def calls(text):
    """Each filter, with what it may be given."""
    told = replaced(FACTS, text)
    before = {"ansible_facts": {"conntrack": told}}
    host = {"inventory_hostname": "web01", "__conntrack_before": before}
    relief = {"__relieve_census": replaced(CENSUS, text), "__relieve_expired": EXPIRED, "relieve_most": text}
    result = {**RESULT, "before": told, "plan": dict(PLAN, warnings=[text]), "not_restored": [text]}
    policy = dict.fromkeys(("conntrack_max", "conntrack_headroom", "conntrack_timeouts", "conntrack_apply"), text)
    reading = {"event": "before", "facts": told, "end": text}
    return {
        "conntrack_audit": ([host],),
        "conntrack_cures": ([dict(host, __audit_census=exempting(text), notrack_flows=text)],),
        "conntrack_drill_errors": ({"drill_reload": text}, "ssh", [text]),
        "conntrack_drill_plan": (told, {}, "local"),
        "conntrack_drill_verdict": ([reading, dict(reading, event="reload")], "web01"),
        "conntrack_input_errors": ([dict(policy, inventory_hostname="web01", **{text: 1})],),
        "conntrack_plan": (told, policy),
        "conntrack_relief": ([dict(host, **relief)],),
        "conntrack_relief_errors": (
            dict.fromkeys(("relieve_timeouts", "relieve_wait", "relieve_confirm", "relieve_most"), text),
        ),
        "conntrack_risks": (told,),
        "conntrack_raise": (dict(PLAN, reasons={"max": text}), told),
        "conntrack_table": ([dict(host, conntrack_result=result)],),
        "conntrack_wave": (
            [{"inventory_hostname": text, "__tune_read": {"failed": True, "msg": text}, "tune_order": text}],
        ),
    }


def seconds(name, text):
    arguments = calls(text)[name]
    begun = time.process_time()
    with contextlib.suppress(AnsibleFilterError):
        FILTERS[name](*arguments)
    return time.process_time() - begun


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(FILTERS))
def test_four_times_the_text_takes_less_than_ten_times_the_time(name, kind):
    texts = [(KINDS[kind] * size)[:size] for size in (2**18, 2**20)]
    # What is short is not slow, and too short to be compared.
    for _attempt in range(3):
        longer = seconds(name, texts[1])
        if longer < 1.0 or longer < 10 * seconds(name, texts[0]):
            return
    raise AssertionError(f"{longer} s")
