# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that have flows left untracked at each boot, and brought back when others have flushed them. Pure.

A script loads the rules and looks whether they are there; one unit runs it at a boot, another one again and again.
"""

import hashlib
import re
from typing import Dict, List, NamedTuple, Sequence, Tuple

from . import iptables, nftables
from .obstacles import Judged
from .walk import Lost

HOME = "/etc/headroom"
SCRIPT = HOME + "/notrack.sh"
RULES = {"nftables": [HOME + "/notrack.nft"], "iptables": [HOME + "/notrack.v4", HOME + "/notrack.v6"]}
_UNITS = "/etc/systemd/system/"
LOADS, WATCHES = "headroom-notrack.service", "headroom-notrack-watch.service"
UNITS = (_UNITS + LOADS, _UNITS + WATCHES)
_WANTED_BY = _UNITS + "multi-user.target.wants/"
LINKS = {_WANTED_BY + LOADS: UNITS[0], _WANTED_BY + WATCHES: UNITS[1]}
FILES = (SCRIPT, *RULES["nftables"], *RULES["iptables"], *UNITS)
# Seconds between two looks of the unit that watches, and so the longest that rules of ours are gone.
PAUSE = 5

# What a name of a chain or a table may hold that stands in the script.
_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}( [A-Za-z0-9_][A-Za-z0-9_./-]{0,127}){0,2}")
_PROGRAM = re.compile("/[A-Za-z0-9_./-]{1,100}")


class Accept(NamedTuple):
    """A rule that lets packets of a flow through a chain of others."""

    flow: str
    direction: str
    table: str
    chain: str
    rule: str
    comment: str
    program: str  # of iptables; nothing where it is a rule of nftables


class Unwritable(Exception):
    """A name that cannot stand in a script."""


def accepts(judged: Judged) -> List[Accept]:
    found: Dict[Tuple[str, str, str], Accept] = {}
    for one in judged.lost:
        for accept in _accepts(one):
            found[accept.table, accept.chain, accept.comment] = accept
    return list(found.values())


def _accepts(one: Lost) -> List[Accept]:
    family, _space, table = one.chain.table.partition(" ")
    is_nft = family in ("ip", "ip6", "inet")
    if is_nft:
        rules = nftables.accepts(one.match, one.hook, family)
    else:
        rules = iptables.accepts(one.match, one.hook, one.version)
    names = "{0} {1}".format(table, one.chain.name)
    if not _NAME.fullmatch(names) or not (is_nft or _PROGRAM.fullmatch(family)):
        raise Unwritable("table {0}, chain {1}".format(one.chain.table, one.chain.name))
    return [
        Accept(
            one.match.flow,
            one.match.direction,
            one.chain.table,
            one.chain.name,
            rule,
            "{0} {1} {2}".format(nftables.MARK, one.match.flow, hashlib.sha256(rule.encode("ascii")).hexdigest()[:8]),
            "" if is_nft else family,
        )
        for rule in rules
    ]


def script(backend: str, versions: Sequence[int], accepted: Sequence[Accept]) -> str:
    keep = "|" + "".join(one.comment + "|" for one in accepted)
    calls = [_call(one) for one in accepted] or [":"]
    load, shown = _of_backend(backend, versions)
    return "\n".join(
        [
            "#!/bin/sh",
            "# Made by the role headroom.netfilter.notrack; what is changed here is made anew.",
            "# load: have flows left untracked; check: whether they are; watch: see to it; unload: have everything tracked.",
            LIBRARY,
            "shown() {",
            *["\t" + line for line in shown],
            "}",
            "accepts() {",
            *["\t{0} || return 1".format(call) for call in calls],
            "}",
            "load() {",
            *["\t{0} || return 1".format(line) for line in load],
            "\ttidy '{0}'".format(keep),
            "\tmode=load",
            "\taccepts || return 1",
            "\tshown > $STATE.new && mv $STATE.new $STATE",
            "}",
            "check() {",
            "\tmode=check",
            '\t[ -f $STATE ] && [ "$(shown)" = "$(cat $STATE)" ] && accepts',
            "}",
            'case "$1" in',
            "load) load ;;",
            "check) check ;;",
            "unload) {0} ;;".format(_unload(backend, versions)),
            "watch)",
            "\twhile :; do",
            "\t\tcheck || { load && echo 'rules that leave flows untracked were gone, and are back'; }",
            "\t\tsleep {0}".format(PAUSE),
            "\tdone",
            "\t;;",
            "*) exit 2 ;;",
            "esac",
            "",
        ]
    )


def _call(one: Accept) -> str:
    if one.program:
        return "accept_iptables {0} {1} {2} '{3}' {4}".format(
            one.program, one.table.partition(" ")[2], one.chain, one.comment, _marked(one)
        )
    return "accept_nft '{0} {1}' '{2}' '{3}'".format(one.table, one.chain, one.comment, one.rule)


def _marked(one: Accept) -> str:
    """The rule with its own comment in place of the flow's."""
    return one.rule.replace('"headroom_notrack {0}"'.format(one.flow), '"{0}"'.format(one.comment))


def _of_backend(backend: str, versions: Sequence[int]) -> Tuple[List[str], List[str]]:
    if backend == "nftables":
        return (
            ["nft -f {0}".format(RULES[backend][0])],
            ["nft -s list table inet headroom_notrack 2>/dev/null"],
        )
    loads, shown = [], []
    for version in versions:
        program = "iptables" if version == 4 else "ip6tables"
        loads.append("{0}-restore --noflush < {1}".format(program, RULES[backend][0 if version == 4 else 1]))
        loads += ["lead {0} {1} {2}".format(program, builtin, chain) for builtin, chain in iptables.CHAINS.items()]
        shown.append("{0}-save -t raw 2>/dev/null | grep '^-A .*headroom_notrack'".format(program))
    return loads, shown


def _unload(backend: str, versions: Sequence[int]) -> str:
    own = [] if backend == "nftables" else ["iptables" if version == 4 else "ip6tables" for version in versions]
    return "unload {0} '{1}'".format(backend, " ".join(own))


# Functions of the script, and of the commands that take all away where the script is gone already.
LIBRARY = r"""
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin
LC_ALL=C
export PATH LC_ALL
STATE=/run/headroom-notrack
have() {
    command -v "$1" >/dev/null
}
# Rules of ours in chains of others, but for those whose comments are named, as what takes them away.
strays_nft() {
    nft -a list ruleset 2>/dev/null | awk -v keep="$1" '
        $1 == "table" { table = $2 " " $3 }
        $1 == "chain" { chain = $2 }
        match($0, /comment "headroom_notrack [^"]*"/) {
            if (!index(keep, "|" substr($0, RSTART + 9, RLENGTH - 10) "|")) print "delete rule", table, chain, "handle", $NF
        }'
}
strays_iptables() {
    "$1-save" 2>/dev/null | awk -v keep="$2" '
        /^\*/ { table = $0 }
        /^-A / && $2 !~ /^headroom_notrack_/ && match($0, /--comment "headroom_notrack [^"]*"/) {
            if (index(keep, "|" substr($0, RSTART + 11, RLENGTH - 12) "|")) next
            if (table != last) { if (last) print "COMMIT"; print table; last = table }
            sub(/^-A /, "-D ")
            print
        }
        END { if (last) print "COMMIT" }'
}
# Run a program only where there is something for it.
feed() {
    text=$(cat)
    [ -z "$text" ] || printf '%s\n' "$text" | "$@"
}
tidy() {
    have nft && strays_nft "$1" | feed nft -f -
    for program in iptables ip6tables iptables-legacy ip6tables-legacy; do
        have "$program-save" && strays_iptables "$program" "$1" | feed "$program-restore" --noflush
    done
    return 0
}
# A chain that is not there, as while a firewall starts, drops nothing.
accept_nft() {
    listed=$(nft list chain $1 2>/dev/null) || return 0
    case "$listed" in *"comment \"$2\""*) return 0 ;; esac
    [ "$mode" = load ] && nft "insert rule $1 $3 comment \"$2\""
}
accept_iptables() {
    program=$1 table=$2 chain=$3
    shift 4
    "$program" -w -t "$table" -S "$chain" >/dev/null 2>&1 || return 0
    "$program" -w -t "$table" -C "$chain" "$@" 2>/dev/null && return 0
    [ "$mode" = load ] && "$program" -w -t "$table" -I "$chain" "$@"
}
lead() {
    "$1" -w -t raw -C "$2" -j "$3" 2>/dev/null || "$1" -w -t raw -I "$2" -j "$3"
}
unload() {
    rm -f $STATE
    if [ "$1" = nftables ]; then
        nft 'add table inet headroom_notrack; delete table inet headroom_notrack' || return 1
    fi
    for program in $2; do
        for chain in PREROUTING:headroom_notrack_in OUTPUT:headroom_notrack_out; do
            while "$program" -w -t raw -D "${chain%:*}" -j "${chain#*:}" 2>/dev/null; do :; done
            "$program" -w -t raw -F "${chain#*:}" 2>/dev/null && "$program" -w -t raw -X "${chain#*:}"
        done
    done
    tidy ''
}
""".strip("\n")

LOAD_UNIT = """\
# Made by the role headroom.netfilter.notrack; what is changed here is made anew.
[Unit]
Description=Flows that are left untracked
DefaultDependencies=no
After=local-fs.target nftables.service netfilter-persistent.service ufw.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {0} load
ExecStop=-/bin/sh {0} unload

[Install]
WantedBy=multi-user.target
""".format(SCRIPT)

WATCH_UNIT = """\
# Made by the role headroom.netfilter.notrack; what is changed here is made anew.
[Unit]
Description=Whether flows are still left untracked
After={1}
PartOf={1}

[Service]
ExecStart=/bin/sh {0} watch
Restart=always
RestartSec={2}

[Install]
WantedBy=multi-user.target
""".format(SCRIPT, LOADS, PAUSE)


def installed(waits: bool = True) -> List[List[str]]:
    """Commands that have the files that are there in force. At a boot units are not to be waited for: they may wait for who asks."""
    restart = ["systemctl", "restart"] if waits else ["systemctl", "--no-block", "restart"]
    return [
        ["/bin/sh", SCRIPT, "load"],
        ["systemctl", "daemon-reload"],
        [*restart, LOADS],
        [*restart, WATCHES],
    ]


def removed(backend: str, versions: Sequence[int]) -> List[List[str]]:
    """Commands that leave nothing in force, though the files are gone."""
    stop = "for unit in {0} {1}; do systemctl stop $unit 2>/dev/null; done".format(WATCHES, LOADS)
    return [
        ["/bin/sh", "-c", "\n".join([LIBRARY, stop, _unload(backend, versions)])],
        ["systemctl", "daemon-reload"],
    ]
