# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each module of the collection may answer. The documentation of what they return says the same, which a test holds."""

from __future__ import annotations

from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files, kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome import said
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.sized import ASKED
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.boot import foreknown
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import (
    Check,
    ListOf,
    MappingOf,
    Misfit,
    Number,
    OrNone,
    Record,
    Shown,
    Text,
    Truth,
    Whole,
)

SYSTEMD_SYSCTL = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")


class Answer(NamedTuple):
    """What a module answers where it does not fail."""

    module: str
    returned: Record
    longest: int = 2**22  # characters of its JSON
    facts: Record = Record({})
    diff: Check | None = None
    failure: Record = Record({})  # what it answers besides a message where it fails, all of it optional


COUNT = Whole(0)
SECONDS = Whole()
TEXT = Text()
PATH = TEXT
VALUE = OrNone(Whole())
TIMEOUT = Text(pattern="[a-z0-9][a-z0-9_]{0,63}")
# Of a sysctl, dotted, or hashsize, the buckets.
KEY = Text(pattern=r"hashsize|net\.[a-z0-9_]{1,120}(\.[a-z0-9_]{1,120}){0,4}")
TIMEOUTS = MappingOf(TIMEOUT, SECONDS)
SWITCHES = MappingOf(Text(choices=tuple(kernel.SWITCHES)), Whole())
ACTIVE: dict[str, Check] = {"active": Truth()}

KERNEL = Record(
    {
        "release": TEXT,
        "hz": OrNone(Whole(1, 10000)),
        "page_size": Whole(1024, 2**24),
        "pointer_bytes": Whole(4, 8),
        "init_netns": Truth(),
        "container": OrNone(TEXT),
        "python": OrNone(TEXT),
        "root": Truth(),
        "nat": Truth(),
        "writable": Record({"max": Truth(), "buckets": Truth(), "timeouts": Truth()}),
    }
)
TABLE = Record(
    {
        "count": OrNone(COUNT),
        "max": OrNone(COUNT),
        "buckets": OrNone(COUNT),
        "expect_max": OrNone(COUNT),
        "usage": OrNone(Number()),
        "chain": OrNone(Number()),
        "entry_bytes": COUNT,
        "full_bytes": OrNone(COUNT),
    }
)
UNLISTED = Record(
    {"entries": OrNone(COUNT), "dying": OrNone(COUNT), "unconfirmed": OrNone(COUNT), "listeners": ListOf(TEXT)}
)
SERVICES = Record(
    {
        "firewalld": OrNone(
            Record({"version": OrNone(TEXT), **ACTIVE, "cleanup_modules_on_exit": OrNone(TEXT), "unloads": Truth()})
        ),
        "iptables": OrNone(
            Record({**ACTIVE, "modules_unload": OrNone(TEXT), "sysctl_load_list": ListOf(TEXT), "unloads": Truth()})
        ),
        "nftables": OrNone(Record(ACTIVE)),
        "netfilter_persistent": OrNone(Record(ACTIVE)),
        "ufw": OrNone(Record(ACTIVE)),
        "conntrackd": OrNone(Record({**ACTIVE, "sync": Truth(), "hash_size": COUNT, "hash_limit": COUNT})),
        # Stands in a file that root runs.
        "systemd_sysctl": OrNone(Text(choices=SYSTEMD_SYSCTL)),
    }
)
FILE = Record(
    {
        "sha256": Text(pattern="[0-9a-f]{64}"),
        "mode": Text(pattern="[0-7]{4}"),
        "owner": TEXT,
        "group": TEXT,
        "ours": Truth(),
    }
)
# Of each part of what decides, and of its lines in all (outcome.assignments).
MOST_ASSIGNED = 200
SYSCTL_FILE = Record(
    {
        "path": PATH,
        "file": PATH,
        "lines": ListOf(Record({"line": COUNT, "key": TEXT, "value": OrNone(TEXT), "text": TEXT}), MOST_ASSIGNED),
    }
)
MODPROBE_LINE = Record({"path": PATH, "line": COUNT, "command": TEXT, "name": TEXT, "rest": TEXT, "text": TEXT})
CALL = Record({"command": TEXT, "prefixes": ListOf(TEXT), "pattern": OrNone(TEXT), "files": ListOf(PATH)})
INIT = Record(
    {
        "name": TEXT,
        "known": Truth(),
        "why": TEXT,
        "applied": ListOf(PATH, MOST_ASSIGNED),
        "planned": ListOf(PATH, MOST_ASSIGNED + 1),
        "each": Truth(),
        "ordered": Truth(),
        "globs": Truth(),
        "obeys": Truth(),
        "first": OrNone(Truth()),
        "before": OrNone(PATH),
    }
)
RAMDISK = Record(
    {
        "path": PATH,
        "renew": TEXT,
        "copies": ListOf(PATH),
        "options": ListOf(MODPROBE_LINE, MOST_ASSIGNED),
        "modprobe": OrNone(ListOf(MODPROBE_LINE, MOST_ASSIGNED)),
        "sysctl": ListOf(SYSCTL_FILE, MOST_ASSIGNED),
        "told": Truth(),
        "older": ListOf(PATH, MOST_ASSIGNED),
    }
)
SIZED = Record({"path": PATH, "asked": MappingOf(Text(choices=ASKED), COUNT), "at_load": Truth()})
ASSIGNMENTS = Record(
    {
        "sysctl": ListOf(SYSCTL_FILE, MOST_ASSIGNED),
        "called": ListOf(SYSCTL_FILE),
        "aliases": ListOf(KEY),
        "modprobe": ListOf(MODPROBE_LINE, MOST_ASSIGNED),
        "command_line": ListOf(TEXT, MOST_ASSIGNED),
        "parameters": ListOf(TEXT, MOST_ASSIGNED),
        "early": ListOf(Record({"path": PATH, "line": COUNT, "module": TEXT, "brings": Truth()}), MOST_ASSIGNED),
        "udev": ListOf(
            Record({"path": PATH, "line": COUNT, "resets": Truth(), "call": OrNone(CALL), "runs": Truth()}),
            MOST_ASSIGNED,
        ),
        "owners": ListOf(
            Record(
                {
                    "name": TEXT,
                    "keys": MappingOf(KEY, VALUE),
                    "evidence": TEXT,
                    "path": OrNone(PATH),
                    "line": OrNone(COUNT),
                    "text": TEXT,
                    "remedy": TEXT,
                    "yields": Truth(),
                    "call": OrNone(CALL),
                }
            ),
            MOST_ASSIGNED,
        ),
        "unloading": ListOf(Record({"path": PATH, "line": COUNT, "text": TEXT}), MOST_ASSIGNED),
        "nobodys": ListOf(PATH, 6 * MOST_ASSIGNED),
        "init": INIT,
        "untold": ListOf(Text(pattern="[a-z_]{1,64}")),
        "ramdisk": RAMDISK,
        "sized": SIZED,
    },
    optional=("init", "ramdisk", "sized"),
)
WILL_BE = MappingOf(KEY, Record({"kind": Text(choices=said.KINDS), "value": VALUE, "source": TEXT}))
PROBLEM = Record(
    {
        "kind": Text(choices=said.PROBLEMS),
        "severity": Text(choices=said.SEVERITIES),
        "said": TEXT,
        "path": PATH,
        "line": OrNone(COUNT),
    }
)
OVERRIDING = Record({"path": PATH, "line": COUNT, "text": TEXT, "key": KEY, "value": VALUE, "owner": TEXT})
OUTCOME = Record(
    {
        "boot": WILL_BE,
        "reload": WILL_BE,
        "overriding": ListOf(OVERRIDING),
        "problems": ListOf(PROBLEM),
        "exposed": ListOf(KEY),
    },
)
OWNER = Record(
    {
        "name": TEXT,
        "keys": MappingOf(KEY, VALUE),
        "evidence": TEXT,
        "path": OrNone(PATH),
        "line": OrNone(COUNT),
        "text": OrNone(TEXT),
        "at_boot": Truth(),
        "remedy": TEXT,
    }
)
NAMESPACE = Record(
    {
        "inode": COUNT,
        "name": TEXT,
        "own": Truth(),
        "count": OrNone(COUNT),
        "max": OrNone(COUNT),
        "usage": OrNone(Number()),
        "drop": OrNone(COUNT),
        "early_drop": OrNone(COUNT),
        "timeouts": TIMEOUTS,
        "switches": SWITCHES,
    }
)
MOMENT = OrNone(Text(pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"))
LOG = Record(
    {
        "table_full": COUNT,
        "suppressed": COUNT,
        "first_seen": MOMENT,
        "last_seen": MOMENT,
        "netns": ListOf(COUNT),
        "source": ListOf(TEXT),
    }
)
CARD = Record(
    {"interface": TEXT, "driver": Text(choices=("ena",)), "exceeded": OrNone(COUNT), "available": OrNone(COUNT)}
)
CLAIM = Record({"what": TEXT, "whose": TEXT, "why": TEXT})
CHANGE_ID = Text(pattern="[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CHANGE = Record(
    {
        "id": CHANGE_ID,
        "state": Text(choices=("running", "unfinished", "unconfirmed", "kept", "undone")),
        "when": MOMENT,
        "who": TEXT,
    }
)
HISTORY = Record(
    {
        "last": OrNone(CHANGE),
        "unfinished": OrNone(CHANGE_ID),
        "changes": ListOf(CHANGE),
        "hold": OrNone(TEXT),
    }
)
EXPOSED = Record({"path": PATH, "why": TEXT})


class Foretold(Record):
    """Facts with what will be, which follows from them: what a host says of that itself is passed over."""

    def __call__(self, value: Any) -> dict[str, Any]:
        return foretold(super().__call__(value), foreknown)


# Of a subset that was not asked for, nothing.
FACTS = Foretold(
    {
        "state": Text(choices=("loaded", "builtin", "loadable", "absent")),
        "flavour": Text(choices=tuple(kernel.FLAVOURS)),
        "kernel": KERNEL,
        "memory": Record({"total_bytes": OrNone(COUNT), "available_bytes": OrNone(COUNT)}),
        "cpus": OrNone(COUNT),
        "history": HISTORY,
        "table": TABLE,
        "timeouts": TIMEOUTS,
        "switches": SWITCHES,
        "counters": MappingOf(TIMEOUT, COUNT),
        "unlisted": OrNone(UNLISTED),
        "cloud": ListOf(CARD, 32),
        "services": SERVICES,
        "files": MappingOf(Text(choices=files.MANAGED + files.BOOT), FILE),
        "assignments": ASSIGNMENTS,
        "outcome": OUTCOME,
        "exposed": ListOf(EXPOSED),
        "owners": ListOf(OWNER),
        "claims": ListOf(CLAIM),
        "namespaces": ListOf(NAMESPACE, 33),
        "netns_total": COUNT,
        "log": LOG,
        "unreadable": ListOf(PATH),
        "untold": ListOf(TEXT),
        "left_out": MappingOf(Text(pattern="[a-z_.]{1,64}"), COUNT),
    },
    optional=(
        *("table", "timeouts", "switches", "counters", "services", "files", "assignments", "outcome", "exposed"),
        *("unlisted", "owners", "claims"),
        *("namespaces", "netns_total", "log", "cloud"),
    ),
)

# What groups of entries have in common, by the fields of census.FIELDS; and how many they are.
RECKONED: dict[str, Check] = {"entries": COUNT, "share": Number(), "margin": OrNone(Number())}
FIELDS: dict[str, Check] = {
    "protocol": TEXT,
    "state": TEXT,
    "source": TEXT,
    "destination": TEXT,
    "source_network": TEXT,
    "destination_network": TEXT,
    "destination_port": OrNone(COUNT),
    "zone": COUNT,
    "mark": COUNT,
    "assured": Truth(),
    "timeout_class": OrNone(TIMEOUT),
    "role": OrNone(Text(choices=("server", "client", "forward", "local", "translated"))),
}
FIELD = f"({'|'.join(FIELDS)})"


class Grouping(Record):
    """Groups of what they are grouped by, which tables look for."""

    def __call__(self, value: Any) -> dict[str, Any]:
        checked = super().__call__(value)
        fields = checked["group_by"].split("+")
        for place, group in enumerate(checked["top"]):
            if set(group) - set(RECKONED) != set(fields):
                raise Misfit(
                    f"a group by {checked['group_by']}", f"one by {'+'.join(set(group) - set(RECKONED))}"
                ).within(f"top[{place}]")
        return checked


GROUPING = Grouping(
    {
        "group_by": Text(pattern=rf"{FIELD}(\+{FIELD}){{0,20}}"),
        "top": ListOf(Record({**FIELDS, **RECKONED}, optional=tuple(FIELDS)), 10000),
        "others": COUNT,
        "missed": COUNT,
    }
)
STALE = Record({**RECKONED, "timeouts": MappingOf(TIMEOUT, Record({**RECKONED, "timeout": SECONDS}))})
STATE = Record(
    {
        "protocol": TEXT,
        "state": TEXT,
        "timeout_class": OrNone(TIMEOUT),
        "timeout": OrNone(SECONDS),
        "examined": COUNT,
        "shortened": COUNT,
        "spared": COUNT,
    }
)
LIVE = MappingOf(KEY, VALUE)
# Of a file, some of whose characters are escaped.
LINES = Text(longest=600000, lines=True)
DIFF = ListOf(Record({"before": LINES, "after": LINES, "before_header": TEXT, "after_header": TEXT}), 100)
GIVEN_BACK: dict[str, Check] = {"restored": ListOf(TEXT, 200), "not_restored": ListOf(TEXT, 200)}
FAILED: dict[str, Check] = {"id": OrNone(CHANGE_ID), "state": Text(choices=("undone", "unfinished")), **GIVEN_BACK}

# A flow that is not tracked, and a rule that lets some of one through.
MOST_FLOWS = 300
FLOW = Record({"name": TEXT, "protocol": TEXT, "role": TEXT, **RECKONED})
ACCEPTED = Record({"flow": TEXT, "direction": TEXT, "table": TEXT, "chain": TEXT, "rule": LINES})

ANSWERS = (
    Answer("conntrack_facts", Record({}), facts=Record({"conntrack": FACTS})),
    Answer(
        "conntrack_settings",
        Record(
            {
                "id": OrNone(CHANGE_ID),
                "state": Text(choices=("kept", "none")),
                "before": LIVE,
                "after": LIVE,
                "reboot_needed": ListOf(KEY),
                "facts": FACTS,
            }
        ),
        diff=DIFF,
        failure=Record({**FAILED, "stale": Truth()}, optional=(*FAILED, "stale")),
    ),
    Answer(
        "conntrack_rollback",
        Record({"id": OrNone(CHANGE_ID), "undone": ListOf(CHANGE_ID), **GIVEN_BACK}),
        diff=DIFF,
        failure=Record(FAILED, optional=tuple(FAILED)),
    ),
    Answer(
        "conntrack_notrack",
        Record(
            {
                "id": OrNone(CHANGE_ID),
                "state": Text(choices=("kept", "unconfirmed", "none")),
                "backend": Text(choices=("", "nftables", "iptables")),
                "flows": ListOf(FLOW, MOST_FLOWS),
                "accepted": ListOf(ACCEPTED, 10 * MOST_FLOWS),
            }
        ),
        diff=DIFF,
        failure=Record({**FAILED, "stale": Truth()}, optional=(*FAILED, "stale")),
    ),
    Answer(
        "conntrack_unload",
        Record(
            {
                "id": OrNone(CHANGE_ID),
                "state": Text(choices=("kept", "unconfirmed", "none")),
                "kernel": Text(choices=("module", "builtin", "absent")),
                "modules": ListOf(TEXT, 200),
                "hooks": OrNone(ListOf(TEXT)),
                **GIVEN_BACK,
            }
        ),
        diff=DIFF,
        failure=Record(
            {
                **FAILED,
                "stale": Truth(),
                "needed_by": ListOf(Record({"kind": TEXT, "where": TEXT, "text": TEXT, "remedy": TEXT}), 300),
            },
            optional=(*FAILED, "stale", "needed_by"),
        ),
    ),
    Answer(
        "conntrack_census_info",
        Record(
            {
                "source": OrNone(TEXT),
                "total": COUNT,
                "examined": COUNT,
                "exact": Truth(),
                "groupings": ListOf(GROUPING, 100),
                "stale": STALE,
                "unread": Record({"entries": COUNT, "attributes": COUNT}),
                "forged": COUNT,
                "unlisted": UNLISTED,
            }
        ),
        longest=2**25,
    ),
    Answer(
        "conntrack_expire",
        Record(
            {
                "source": OrNone(TEXT),
                "examined": COUNT,
                "complete": Truth(),
                "shortened": COUNT,
                "spared": COUNT,
                "gone": COUNT,
                "busy": COUNT,
                "corrected": COUNT,
                "forged": COUNT,
                "states": ListOf(STATE, 5000),
            }
        ),
    ),
)
BY_MODULE = {answer.module: answer for answer in ANSWERS}

# What modules of ansible-core may answer, which the role and the playbooks run on hosts.
FILE_FOUND = Record({"path": PATH, "checksum": Text(pattern="[0-9a-f]{32,128}")}, others=True)
OF_CORE = {
    answer.module: answer
    for answer in (
        Answer("ansible.builtin.command", Record({})),
        Answer("ansible.builtin.copy", Record({"backup_file": PATH}, optional=("backup_file",)), diff=Shown()),
        Answer("ansible.builtin.file", Record({}), diff=Shown()),
        Answer("ansible.builtin.find", Record({"files": ListOf(FILE_FOUND, 200)})),
        Answer("ansible.builtin.lineinfile", Record({"backup": PATH}, optional=("backup",)), diff=Shown()),
        Answer("ansible.builtin.uri", Record({})),
        Answer("ansible.builtin.wait_for", Record({"match_groups": ListOf(TEXT)}, optional=("match_groups",))),
    )
}
