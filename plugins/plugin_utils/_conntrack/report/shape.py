# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report may hold: what a report of another run is read by, and the JSON Schema docs/report.schema.json. Pure.

    python3 -m ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.shape

prints the schema.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import RISKS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome import said
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import (
    Check,
    ListOf,
    MappingOf,
    Number,
    OrNone,
    Record,
    Text,
    Truth,
    Whole,
)

FORMAT = "headroom.netfilter.report"
# Another number where what was there means something else, or is gone.
VERSION = 1

# Of a host: its facts arrived, but for parts of them; or not, and why.
STATES = ("read", "partial", "failed", "unreachable", "not read")
ARRIVED = STATES[:2]
MOST_HOSTS = 200000

TEXT = Text(4000, lines=True)
NAME = Text(1000)
COUNT = OrNone(Whole(0))
VALUE = OrNone(Whole())
MOMENT = Text(pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
DAY = Text(pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}")
ID = Text(pattern="[a-z][a-z0-9-]{0,63}")
SEVERITY = Text(choices=said.SEVERITIES)
WILL_BE = ListOf(Record({"key": NAME, "kind": Text(choices=said.KINDS), "value": VALUE, "source": TEXT}), 200)
ACCEPTED = Record({"reason": TEXT, "until": DAY})
FINDING = Record({"id": ID, "severity": SEVERITY, "seen": TEXT, "remedy": TEXT, "accepted": OrNone(ACCEPTED)})
PLAN = Record(
    {
        "converged": Truth(),
        "max": COUNT,
        "buckets": COUNT,
        "full_bytes": COUNT,
        "refusals": ListOf(TEXT, 200),
        "warnings": ListOf(TEXT, 200),
        "diff": Text(600000, lines=True),
    }
)
HOST = Record(
    {
        "name": NAME,
        "state": Text(choices=STATES),
        "said": TEXT,
        "worst": OrNone(SEVERITY),
        "system": OrNone(
            Record(
                {
                    "release": TEXT,
                    "conntrack": TEXT,
                    "container": OrNone(TEXT),
                    "root": Truth(),
                    "memory_bytes": COUNT,
                    "cpus": COUNT,
                }
            )
        ),
        "table": OrNone(
            Record(
                {
                    **dict.fromkeys(("count", "max", "buckets", "expect_max", "full_bytes"), COUNT),
                    **dict.fromkeys(("usage", "chain"), OrNone(Number())),
                }
            )
        ),
        "drops": OrNone(Record({"packets": COUNT, "early": COUNT, "logged": COUNT, "last": OrNone(MOMENT)})),
        "boot": WILL_BE,
        "reload": WILL_BE,
        "loses": ListOf(Text(choices=("boot", "reload")), 2),
        "owners": ListOf(
            Record(
                {
                    "name": TEXT,
                    "keys": MappingOf(NAME, VALUE),
                    "evidence": TEXT,
                    "path": OrNone(TEXT),
                    "line": COUNT,
                    "remedy": TEXT,
                }
            )
        ),
        "namespaces": ListOf(
            Record(
                {
                    "name": TEXT,
                    **dict.fromkeys(("count", "max", "drop", "early_drop"), COUNT),
                    "usage": OrNone(Number()),
                }
            )
        ),
        "namespaces_total": COUNT,
        "claims": ListOf(Record({"what": TEXT, "whose": TEXT, "why": TEXT})),
        "history": ListOf(TEXT, 10),
        "missing": ListOf(TEXT, 200),
        "findings": ListOf(FINDING, 200),
        "plan": OrNone(PLAN),
    }
)
MOVED = Record({"host": NAME, "id": ID, "severity": SEVERITY, "seen": TEXT})
SINCE = Record(
    {
        "made": MOMENT,
        "hosts_new": ListOf(NAME, MOST_HOSTS),
        "hosts_gone": ListOf(NAME, MOST_HOSTS),
        "findings_new": ListOf(MOVED, 10 * MOST_HOSTS),
        "findings_gone": ListOf(MOVED, 10 * MOST_HOSTS),
        "limits": ListOf(Record({"host": NAME, "was": COUNT, "is": COUNT}), MOST_HOSTS),
        "states": ListOf(Record({"host": NAME, "was": Text(choices=STATES), "is": Text(choices=STATES)}), MOST_HOSTS),
    }
)
REPORT = Record(
    {
        "format": Text(choices=(FORMAT,)),
        "version": Whole(VERSION, VERSION),
        "made": MOMENT,
        "why": MappingOf(ID, TEXT),
        "accepted": ListOf(
            Record({"id": ID, "hosts": ListOf(NAME, 10000), "reason": TEXT, "until": DAY, "over": Truth()}), 10000
        ),
        "since": OrNone(SINCE),
        "merged": ListOf(Record({"made": MOMENT, "hosts": Whole(0)}), 10000),
        "hosts": ListOf(HOST, MOST_HOSTS),
    }
)


def why() -> dict[str, str]:
    """What each finding means, once for all hosts."""
    return {name: risk.why for name, risk in RISKS.items()}


def schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A report of headroom.netfilter, version {VERSION}",
        **_schema(REPORT),
    }


def _schema(check: Check) -> dict[str, Any]:
    if isinstance(check, OrNone):
        return {"anyOf": [_schema(check.check), {"type": "null"}]}
    if isinstance(check, ListOf):
        return {"type": "array", "items": _schema(check.check), "maxItems": check.most}
    if isinstance(check, MappingOf):
        return {"type": "object", "propertyNames": _schema(check.name), "additionalProperties": _schema(check.check)}
    if isinstance(check, Record):
        fields = {name: _schema(field) for name, field in check.fields.items()}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    if isinstance(check, Text):
        if check.choices:
            return {"enum": list(check.choices)}
        pattern = {"pattern": f"^{check.pattern}$"} if check.pattern else {}
        return {"type": "string", "maxLength": check.longest, **pattern}
    if isinstance(check, Whole):
        return {"type": "integer", "minimum": check.least, "maximum": check.most}
    return {"type": "number", "minimum": 0} if isinstance(check, Number) else {"type": "boolean"}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
