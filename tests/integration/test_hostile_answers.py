# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Hosts whose root answers what he likes: no text of them is a template, nothing of the play moves, the other hosts go on.

Such a host has a Python that runs no module, and prints what was prepared for it instead. Nothing of this machine is changed.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PREFIX = "net.netfilter.nf_conntrack_"
# The Python of a host: the module comes through its standard input, and what each module answers lies beside this.
INTERPRETER = """\
#!/bin/sh
here=${0%/*}
module=$(grep -aoE 'modules\\.[a-z_]+')
module=${module%%
*}
module=${module#modules.}
echo "$module" >>"$here/run"
for folder in "$here" "$here/../any"; do
  [ ! -e "$folder/$module" ] || exec cat "$folder/$module"
done
"""

# As of a host with all that a plan and findings tell of.
FACTS: dict[str, Any] = {
    "state": "loaded",
    "flavour": "nf_conntrack",
    "kernel": {
        "release": "6.1.0-37-amd64",
        "hz": 250,
        "page_size": 4096,
        "pointer_bytes": 8,
        "init_netns": True,
        "container": "docker",
        "python": "3.11.2",
        "root": True,
        "nat": True,
        "writable": {"max": True, "buckets": True, "timeouts": True},
    },
    "memory": {"total_bytes": 4294967296, "available_bytes": 3221225472},
    "cpus": 2,
    "history": {
        "last": {"id": "b", "state": "unfinished", "when": "2026-11-22T08:13:01Z", "who": "ann"},
        "unfinished": "b",
        "changes": [{"id": "a", "state": "kept", "when": None, "who": ""}],
        "hold": "frozen",
    },
    "table": {
        "count": 8000,
        "max": 8192,
        "buckets": 8192,
        "expect_max": 128,
        "usage": 0.976562,
        "chain": 1.9531,
        "entry_bytes": 384,
        "full_bytes": 3211264,
    },
    "timeouts": {"tcp_established": 432000, "udp": 30},
    "switches": {"tcp_loose": 1, "tcp_be_liberal": 0},
    "counters": {"drop": 12, "insert_failed": 3},
    "unlisted": {"entries": 40, "dying": 30, "unconfirmed": None, "listeners": ["conntrackd (812): 7 events lost"]},
    "services": {
        "firewalld": {"version": "1.3.3", "active": True, "cleanup_modules_on_exit": "yes", "unloads": True},
        "iptables": {
            "active": True,
            "modules_unload": "yes",
            "sysctl_load_list": [".nf_conntrack"],
            "unloads": True,
        },
        "nftables": {"active": True},
        "netfilter_persistent": None,
        "ufw": None,
        "conntrackd": {"active": True, "sync": True, "hash_size": 8192, "hash_limit": 16384},
        "systemd_sysctl": "/usr/lib/systemd/systemd-sysctl",
    },
    "files": {
        "/etc/modprobe.d/nf_conntrack.conf": {
            "sha256": 64 * "0",
            "mode": "0644",
            "owner": "root",
            "group": "root",
            "ours": True,
        }
    },
    "assignments": {
        "sysctl": [
            {
                "path": "/etc/sysctl.d/99-sysctl.conf",
                "file": "/etc/sysctl.conf",
                "lines": [{"line": 1, "key": PREFIX + "max", "value": "1000", "text": PREFIX + "max=1000"}],
            }
        ],
        "called": [{"path": "/etc/sysctl.conf", "file": "/etc/sysctl.conf", "lines": []}],
        "aliases": ["net.nf_conntrack_max"],
        "modprobe": [
            {
                "path": "/etc/modprobe.d/nf_conntrack.conf",
                "line": 3,
                "command": "options",
                "name": "nf_conntrack",
                "rest": "hashsize=1000",
                "text": "",
            }
        ],
        "command_line": ["nf_conntrack.acct=1"],
        "parameters": ["acct"],
        "early": [{"path": "/etc/modules", "line": 1, "module": "nf_conntrack", "brings": True}],
        "udev": [
            {
                "path": "/etc/udev/rules.d/91-a.rules",
                "line": 1,
                "resets": False,
                "call": {
                    "command": "sysctl",
                    "prefixes": ["net.netfilter"],
                    "pattern": None,
                    "files": ["/etc/sysctl.conf"],
                },
                "runs": True,
            }
        ],
        "owners": [],
        "unloading": [{"path": "/etc/firewalld/firewalld.conf", "line": 4, "text": "CleanupModulesOnExit=yes"}],
        "nobodys": ["/etc/sysctl.d/10-app.conf"],
        "untold": [],
    },
    "outcome": {
        "boot": {PREFIX + "max": {"kind": "value", "value": 1000, "source": "/etc/sysctl.conf:1"}},
        "reload": {"hashsize": {"kind": "default", "value": 1000, "source": "kernel default"}},
        "overriding": [
            {
                "path": "/etc/sysctl.conf",
                "line": 1,
                "text": PREFIX + "max=1000",
                "key": PREFIX + "max",
                "value": 1000,
                "owner": "sysctl.d",
            }
        ],
        "problems": [
            {
                "kind": "odd",
                "severity": "warning",
                "said": "/etc/modprobe.d/a.conf:1: 'x' is no command of modprobe.d",
                "path": "/etc/modprobe.d/a.conf",
                "line": 1,
            }
        ],
        "exposed": ["net.netfilter.nf_conntrack_max"],
    },
    "exposed": [{"path": "/etc/sysctl.d/10-app.conf", "why": "mode 0666"}],
    "owners": [
        {
            "name": "kube-proxy",
            "keys": {PREFIX + "tcp_timeout_established": 86400},
            "evidence": "process 7: kube-proxy",
            "path": None,
            "line": None,
            "text": None,
            "at_boot": True,
            "remedy": "set it in the configuration",
        },
        {
            "name": "cron",
            "keys": {PREFIX + "max": 2000},
            "evidence": "/etc/crontab:3: @reboot",
            "path": "/etc/crontab",
            "line": 3,
            "text": "@reboot root sysctl",
            "at_boot": True,
            "remedy": "take the line out of /etc/crontab",
        },
    ],
    "claims": [{"what": "process 9: kube-proxy", "whose": "user 65534", "why": "it is not root's"}],
    "namespaces": [
        {
            "inode": 4026532280,
            "name": "docker 0123456789ab",
            "own": False,
            "count": 8000,
            "max": 8192,
            "usage": 0.976562,
            "drop": 7,
            "early_drop": 0,
            "timeouts": {"udp": 17},
            "switches": {"tcp_loose": 0},
        }
    ],
    "netns_total": 2,
    "log": {
        "table_full": 3,
        "suppressed": 1,
        "first_seen": "2026-11-22T08:13:01Z",
        "last_seen": "2026-11-22T08:13:20Z",
        "netns": [4026532280],
        "source": ["kernel ring buffer"],
    },
    "unreadable": ["/proc/slabinfo"],
    "untold": ["812 processes of others than root"],
    "left_out": {"owners": 3},
}
MINIMUM = {"state", "flavour", "kernel", "memory", "cpus", "unreadable", "untold", "left_out"}
NO_HISTORY = {"last": None, "unfinished": None, "changes": [], "hold": None}
RECKONED = {"entries": 7, "share": 0.7, "margin": 0.1}
DIFF = [{"before": "8192", "after": "65536", "before_header": "live kernel", "after_header": "live kernel"}]
ANSWERS: dict[str, dict[str, Any]] = {
    "conntrack_facts": {"changed": False, "ansible_facts": {"conntrack": FACTS}},
    "conntrack_settings": {
        "changed": True,
        "id": "20261125T101500Z-0a1b2c",
        "state": "kept",
        "before": {PREFIX + "max": 8192},
        "after": {PREFIX + "max": 65536},
        "reboot_needed": ["hashsize"],
        # Texts of facts are tried with the facts.
        "facts": {**{name: value for name, value in FACTS.items() if name in MINIMUM}, "history": NO_HISTORY},
        "diff": DIFF,
    },
    "conntrack_rollback": {
        "changed": True,
        "id": "20261125T102000Z-3d4e5f",
        "undone": ["20261125T101500Z-0a1b2c"],
        "restored": ["/etc/sysctl.conf"],
        "not_restored": ["hashsize is 65536, no more the 8192 that was set: changed by others since"],
        "diff": DIFF,
    },
    "conntrack_census_info": {
        "changed": False,
        "source": "ctnetlink",
        "total": 10,
        "examined": 10,
        "exact": True,
        "groupings": [
            {"group_by": "source", "top": [{"source": "192.0.2.1", **RECKONED}], "others": 0, "missed": 0},
            {"group_by": "state", "top": [{"state": "ESTABLISHED", **RECKONED}], "others": 0, "missed": 0},
        ],
        "stale": {**RECKONED, "timeouts": {"udp": {**RECKONED, "timeout": 30}}},
        "unread": {"entries": 0, "attributes": 0},
        "forged": 0,
        "unlisted": {"entries": 0, "dying": 0, "unconfirmed": None, "listeners": []},
    },
    "conntrack_expire": {
        "changed": True,
        "source": "ctnetlink",
        "examined": 10,
        "complete": True,
        "shortened": 7,
        "spared": 1,
        "gone": 0,
        "busy": 0,
        "corrected": 0,
        "forged": 0,
        "states": [
            {
                "protocol": "udp",
                "state": "REPLIED",
                "timeout_class": "udp",
                "timeout": 30,
                "examined": 10,
                "shortened": 7,
                "spared": 1,
            }
        ],
    },
}
# A change that fails, in place of the one above.
UNDONE = {
    "failed": True,
    "msg": "not as planned after the change",
    "id": "20261125T101500Z-0a1b2c",
    "state": "undone",
    "restored": ["/etc/sysctl.conf"],
    "not_restored": ["hashsize is 65536: no room"],
    "stale": False,
}
# Of Ansible's own modules, which the drill runs.
OTHERS: dict[str, dict[str, Any]] = {
    "command": {"changed": True, "rc": 0, "stdout": "", "stderr": ""},
    "wait_for": {"changed": False},
}
VARIABLES = {
    "conntrack_max": 65536,
    "conntrack_takeover": True,
    "conntrack_expire_existing": True,
    "conntrack_timeouts": {"udp": 40},
}


# Mappings whose names are the host's. Of the others the names are known: one that is not is refused.
FREE = {"timeouts", "counters", "files", "boot", "reload", "keys", "left_out", "before", "after"}
Way = tuple[Any, ...]
# Last in their order: what becomes of the others comes before.
HONEST = ("zhonest1", "zhonest2")


class Ran(NamedTuple):
    code: int
    output: str

    def failed(self) -> dict[str, str]:
        """By host that failed or was refused, what was said of it."""
        said: dict[str, str] = {}
        for line in self.output.splitlines():
            found = re.match(r"fatal: \[([a-z0-9]+)\]: FAILED! => (.*)", line)
            if found:
                said.setdefault(found[1], found[2])
        return said


class Fleet:
    """Hosts of an inventory, and what their modules answer."""

    def __init__(self, place: Path, ansible_playbook: str) -> None:
        self.place, self.ansible_playbook = place, ansible_playbook
        self.hosts: list[str] = []
        (place / "any").mkdir()
        (place / "marks").mkdir()
        for name, answer in OTHERS.items():
            (place / "any" / name).write_text(json.dumps(answer))

    def add(self, name: str, answers: dict[str, Any]) -> None:
        """A host that answers so, and with what is above for the modules that are not named. A text is printed as it is."""
        folder = self.place / name
        folder.mkdir()
        for module, answer in {**ANSWERS, **answers}.items():
            (folder / module).write_text(answer if isinstance(answer, str) else json.dumps(answer))
        python = folder / "python"
        python.write_text(INTERPRETER)
        python.chmod(0o755)
        self.hosts.append(name)

    def play(self, playbook: str | Path, *arguments: str, hosts: list[str] | None = None) -> Ran:
        """Run a playbook on all of them, or on some."""
        chosen = self.hosts if hosts is None else hosts
        for name in chosen:
            (self.place / name / "run").unlink(missing_ok=True)
        inventory = self.place / "inventory.json"
        variables = {
            name: {"ansible_connection": "local", "ansible_python_interpreter": str(self.place / name / "python")}
            for name in chosen
        }
        # The inventory's own variables: those that facts would win over.
        inventory.write_text(json.dumps({"all": {"hosts": variables, "vars": VARIABLES}}))
        settings = {
            "ANSIBLE_FORKS": "10",
            "ANSIBLE_HOME": str(self.place / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self.place / "local"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_NOCOWS": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_REMOTE_TMP": str(self.place / "remote"),
            "MARKS": str(self.place / "marks"),
        }
        done = subprocess.run(
            [self.ansible_playbook, "-i", str(inventory), str(playbook), *arguments],
            cwd=self.place,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    def ran(self, name: str) -> list[str]:
        """The modules that the last playbook has run on a host."""
        there = self.place / name / "run"
        return there.read_text().split() if there.exists() else []

    def marks(self) -> list[str]:
        return sorted(path.name for path in (self.place / "marks").iterdir())


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Fleet:
    return Fleet(tmp_path, request.config.getoption("--ansible-playbook"))


# Texts, one after the other.


def texts(value: Any, way: Way = ()) -> Iterator[Way]:
    """The way to each text in a value, and to each name that is the host's, with None at its end."""
    if isinstance(value, str):
        yield way
    for name, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if way and way[-1] in FREE:
            yield (*way, name, None)
        yield from texts(item, (*way, name))


def replaced(value: Any, way: Way, text: str) -> Any:
    """A copy of a value with another text at that place, if there is one."""
    made = copy.deepcopy(value)
    *folders, last = way[:-1] if way[-1] is None else way
    within = made
    for step in folders:
        if step not in (range(len(within)) if isinstance(within, list) else within):
            return made
        within = within[step]
    if way[-1] is not None:
        within[last] = text
    elif last in within:
        within[text] = within.pop(last)
    return made


class Templates(NamedTuple):
    fleet: Fleet
    ways: dict[str, tuple[str, Way]]  # by host, the module and the place in its answer

    def text(self, host: str) -> str:
        """A template, in both forms, that would leave marks."""
        mark = f'lookup("pipe", "touch $MARKS/{host}'
        return "{{ " + mark + '-a") }}{% if ' + mark + '-b") %}{% endif %}'

    def add(self, host: str, *ways: tuple[str, Way]) -> None:
        answers = dict(ANSWERS)
        for module, way in ways:
            answers[module] = replaced(answers[module], way, self.text(host))
        self.fleet.add(host, answers)


@pytest.fixture
def templates(fleet: Fleet) -> Templates:
    """A host for each text that a module answers, which is a template there; and two of which nothing is."""
    made = Templates(fleet, {})
    for module, answer in ANSWERS.items():
        for way in texts(answer):
            if way[:1] != ("facts",):
                host = f"text{len(made.ways):03}"
                made.ways[host] = module, way
                made.add(host, made.ways[host])
    for host in HONEST:
        made.add(host)
    return made


# A line of a table or a list, and what Ansible says of a host that failed.
SHOWN = r'^ +".*\b{0}\b'
FATAL = r"^fatal: \[{0}\].*"
# What is done with the answers of hosts: they are changed; are refused; are relieved; are rolled back. What shows that it was so,
# and the modules besides conntrack_facts that are run for it.
CHANGES = [
    ("tune", (), SHOWN, {"conntrack_settings", "conntrack_expire"}),
    ("tune", ("--check", "--diff", "-e", "conntrack_takeover=false"), FATAL + "/etc/sysctl.conf:1", set()),
    (
        "relieve",
        ("-e", "relieve_confirm=true"),
        SHOWN,
        {"conntrack_settings", "conntrack_expire", "conntrack_census_info"},
    ),
    ("rollback", (), SHOWN, {"conntrack_rollback"}),
]


def test_no_text_is_a_template(templates: Templates) -> None:
    fleet = templates.fleet
    audit = fleet.play("headroom.netfilter.audit")
    assert fleet.marks() == []
    for host in HONEST:
        # The table, the findings, and the cure with its command.
        assert len(re.findall(SHOWN.format(host), audit.output, re.MULTILINE)) == 4
    # What is refused comes no further; the others are put through everything.
    failed = audit.failed()
    for host, said in failed.items():
        module = templates.ways[host][0]
        # An audit goes on without a census.
        assert module in ("conntrack_facts", "conntrack_census_info")
        assert f"headroom.netfilter.{module}: " in said
    refused = {host for host in failed if templates.ways[host][0] == "conntrack_facts"}
    accepted = {host: way for host, way in templates.ways.items() if host not in refused}
    assert len(accepted) > 40
    for name, arguments, shown, modules in CHANGES:
        hosts = [host for host, (module, _way) in accepted.items() if module in {"conntrack_facts", *modules}]
        ran = fleet.play(f"headroom.netfilter.{name}", *arguments, hosts=[*hosts, *HONEST])
        assert fleet.marks() == [], (name, arguments)
        for host in HONEST:
            assert re.search(shown.format(host), ran.output, re.MULTILINE), ran.output[-20000:]
    # One host at a time, and none after the first that fails: all texts at once.
    templates.add("texts", *(way for way in accepted.values() if way[0] == "conntrack_facts"))
    drill = fleet.play("headroom.netfilter.drill", "-e", "drill_firewall=true", "--check", hosts=["texts", *HONEST])
    assert fleet.marks() == []
    assert drill.code == 0, drill.output


def test_no_text_of_a_change_that_failed_is_a_template(fleet: Fleet) -> None:
    made = Templates(fleet, {})
    for way in texts(UNDONE):
        host = f"text{len(made.ways):03}"
        made.ways[host] = "conntrack_settings", way
        fleet.add(host, {"conntrack_settings": replaced(UNDONE, way, made.text(host))})
    for host in HONEST:
        fleet.add(host, {"conntrack_settings": UNDONE})
    ran = fleet.play("headroom.netfilter.tune", "-e", "tune_max_failures=1000")
    assert fleet.marks() == []
    assert set(ran.failed()) == set(fleet.hosts)
    assert "NOT PUT BACK: hashsize is 65536: no room" in ran.output


# What else an answer may try.


def facts_with(**more: Any) -> dict[str, Any]:
    return {"changed": False, "ansible_facts": {"conntrack": {**FACTS, **more}}}


MISFITS: dict[str, tuple[Any, str]] = {
    "variables": (
        {
            "ansible_facts": {
                "conntrack": FACTS,
                "audit_report": "/x",
                "tune_probes": [1],
                "conntrack_takeover": "MOVED",
            }
        },
        "ansible_facts.audit_report: expected nothing of that name",
    ),
    "connection": (
        {"ansible_facts": {"conntrack": FACTS, "ansible_connection": "MOVED"}},
        "ansible_facts.ansible_connection: expected nothing of that name",
    ),
    "interpreter": (
        {"ansible_facts": {"conntrack": FACTS, "ansible_python_interpreter": "MOVED"}},
        "ansible_facts.ansible_python_interpreter: expected nothing of that name",
    ),
    "more": (facts_with(surplus=1), "ansible_facts.conntrack.surplus: expected nothing of that name"),
    "seven": (facts_with(namespaces=[7]), "ansible_facts.conntrack.namespaces[0]: expected a mapping, found 7"),
    "truth": (facts_with(cpus=True), "ansible_facts.conntrack.cpus: expected a whole number"),
    "many": (facts_with(untold=["x"] * 51), "ansible_facts.conntrack.untold: expected at most 50 items, found 51"),
    "list": ({"ansible_facts": [FACTS]}, "ansible_facts: expected a mapping, found a list of 1"),
    "nofacts": ({"changed": False}, "ansible_facts.conntrack: expected a value, found none of that name"),
    "unreachable": ({"unreachable": True, "msg": "gone"}, "ansible_facts.conntrack: expected a value"),
    "skipped": ({"skipped": True}, "ansible_facts.conntrack: expected a value"),
    "giant": (facts_with(unreadable=["x" * 5_000_000]), "expected at most 4194304 characters"),
    "deep": (
        '{"ansible_facts": {"conntrack": ' + "[" * 10_000 + "]" * 10_000 + "}}",
        "expected less depth, found more than can be read",
    ),
    "started": ({"ansible_job_id": "1.2", "started": 1, "finished": 0}, "ansible_facts.conntrack: expected a value"),
    "type": (
        facts_with(cpus={"__ansible_type": "Deprecated", "msg": "x"}),
        "ansible_facts.conntrack.cpus: expected a whole number",
    ),
    "nothing": ("Segmentation fault\n", ""),
}
# Those that do not fail their host: what they try is not handed on, and what they say is shown escaped.
HARMLESS: dict[str, Any] = {
    "addhost": {**facts_with(), "add_host": {"host_name": "MOVED", "groups": ["MOVED"], "host_vars": {}}},
    "addgroup": {**facts_with(), "add_group": "MOVED", "ansible_stats": {"data": {"MOVED": 1}, "per_host": False}},
    "notify": {**facts_with(), "_ansible_notify": ["MOVED"], "notify": ["MOVED"], "skipped": True, "unreachable": True},
    "escapes": facts_with(unreadable=["/\x1b[2J\u202e\x9b\r\nMOVED"], untold=["\x07\u2028"]),
    "junk": json.dumps({**facts_with(), "warnings": ["\x1b[2J", 7, {}], "deprecations": [{"msg": "\x1b[2J"}]})
    + "\n\x1b[2J junk\n",
}
PROBE = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "block": [{"headroom.netfilter.conntrack_facts": {}, "register": "said"}],
                "rescue": [{"ansible.builtin.meta": "noop"}],
            },
            {
                "ansible.builtin.debug": {
                    "msg": "SEEN {{ [inventory_hostname, audit_report | default('unset'), tune_probes | default('unset'),"
                    " conntrack_takeover, ansible_connection, ansible_python_interpreter | basename, groups | length,"
                    " groups.all | length, ansible_facts.keys() | list, said.keys() | reject('match', 'exception|rc|module_')"
                    " | sort] | to_json }}"
                }
            },
        ],
    }
]


def test_nothing_of_the_play_moves(fleet: Fleet) -> None:
    for name, (answer, _said) in MISFITS.items():
        fleet.add(name, {"conntrack_facts": answer})
    for name, answer in HARMLESS.items():
        fleet.add(name, {"conntrack_facts": answer})
    for name in HONEST:
        fleet.add(name, {})
    playbook = fleet.place / "probe.json"
    playbook.write_text(json.dumps(PROBE))
    ran = fleet.play(playbook)
    seen = [json.loads(line) for line in re.findall(r"SEEN (\[.*\])", ran.output.replace('\\"', '"'))]
    assert len(seen) == len(fleet.hosts), ran.output
    for name, *variables, facts, keys in seen:
        assert variables == ["unset", "unset", True, "local", "python", 2, len(fleet.hosts)], name
        assert facts == ([] if name in MISFITS else ["conntrack"]), name
        assert set(keys) <= {"ansible_facts", "changed", "failed", "msg", "warnings"}, name
    assert "\x1b" not in ran.output
    for name, arguments in (("audit", ()), ("tune", ("--check",)), ("relieve", ())):
        ran = fleet.play(f"headroom.netfilter.{name}", *arguments)
        assert set(ran.failed()) == set(MISFITS), ran.output
        for host, said in ran.failed().items():
            assert MISFITS[host][1] in said
            assert len(said) < 5000
        for host in (*HONEST, *HARMLESS):
            assert re.search(SHOWN.format(host), ran.output, re.MULTILINE), ran.output[-20000:]
        assert not re.search("[\x1b\x9b\u202e\u2028\x07]", ran.output)


# And what has to go on as it did without a guard.


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_keywords_mean_what_they_mean(fleet: Fleet, request: pytest.FixtureRequest, strategy: str) -> None:
    fleet.add("first", {})
    fleet.add("second", {})
    fleet.add("failing", {"conntrack_facts": {"failed": True, "msg": "why: \x1b[2J"}})
    facts: dict[str, Any] = {"headroom.netfilter.conntrack_facts": {}}
    lowered = {"headroom.netfilter.conntrack_settings": {"max": 65536}, "diff": True, "check_mode": True}
    # The module itself, which refuses what it does not know.
    real = {"vars": {"ansible_python_interpreter": request.config.getoption("--target-python")}}
    shown = [
        "looped.results | map(attribute='ansible_facts.conntrack.cpus') | list",
        "hostvars.second.ansible_facts.conntrack.netns_total",
        "[lowered.changed, lowered.before, lowered.diff[0].after]",
        "[failed.failed, failed.msg]",
        "hidden.ansible_facts.conntrack.cpus",
        "again.attempts",
        "[later.failed, later.msg]",
        "[unknown.failed, unknown.msg]",
        "defaults.ansible_facts.conntrack.keys() | sort",
    ]
    tasks: list[dict[str, Any]] = [
        {**facts, "loop": [1, 2], "register": "looped"},
        {**facts, "delegate_to": "second", "delegate_facts": True},
        {**lowered, "register": "lowered"},
        {**facts, "delegate_to": "failing", "ignore_errors": True, "register": "failed"},
        {**facts, "no_log": True, "register": "hidden"},
        {**facts, "until": "again.attempts == 2", "retries": 2, "delay": 0, "register": "again"},
        {**facts, "async": 10, "poll": 0, "ignore_errors": True, "register": "later"},
        {"headroom.netfilter.conntrack_facts": {"other": 1}, **real, "ignore_errors": True, "register": "unknown"},
        {
            **facts,
            **real,
            "module_defaults": {"headroom.netfilter.conntrack_facts": {"gather_subset": ["min"]}},
            "register": "defaults",
        },
        {"ansible.builtin.debug": {"msg": "SEEN {{ [" + ", ".join(shown) + "] | to_json | b64encode }}"}},
    ]
    playbook = fleet.place / "keywords.json"
    playbook.write_text(json.dumps([{"hosts": "first", "gather_facts": False, "strategy": strategy, "tasks": tasks}]))
    ran = fleet.play(playbook)
    assert ran.code == 0, ran.output
    found = re.search(r"SEEN ([A-Za-z0-9+/=]+)", ran.output)
    assert found
    *values, later, unknown, defaults = json.loads(base64.b64decode(found[1]))
    assert values == [[2, 2], 2, [True, {PREFIX + "max": 8192}, "65536"], [True, "why: \\x1b[2J"], 2, 2]
    assert re.search(r"(?m)^-8192\n(.*\n)?\+65536$", ran.output)
    assert later[0] is True
    assert "support" in later[1]
    assert "async" in later[1]
    assert unknown[0] is True
    assert "nsupported parameters" in unknown[1]
    assert defaults == sorted([*MINIMUM, "history"])
