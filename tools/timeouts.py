# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Prints docs/timeouts.md from the profiles that the collection uses: python3 tools/timeouts.py > docs/timeouts.md"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).resolve().parents[1] / "plugins" / "module_utils" / "_conntrack"


def load(name: str) -> ModuleType:
    """A module of the collection from this checkout, wherever that lies."""
    if "conntrack" not in sys.modules:
        package = ModuleType("conntrack")
        package.__path__ = [str(HOME)]
        sys.modules["conntrack"] = package
    return importlib.import_module(f"conntrack.{name}")


def page() -> str:
    profiles = load("profiles")
    names = list(profiles.PROFILES)
    lines = [
        "<!-- Made by tools/timeouts.py; change plugins/module_utils/_conntrack/profiles.py instead. -->",
        "# Timeouts",
        "",
        "How long the kernel keeps an entry after its last packet, in seconds, by state. `conntrack_timeout_profile`",
        "chooses a column, `conntrack_timeouts` changes single values over it. Only keys that a host's kernel has are",
        "written. A name here is that of the sysctl without `net.netfilter.nf_conntrack_` and `_timeout`.",
        "",
        "| timeout | " + " | ".join(names) + " | floor for NAT |",
        "|---|" + "---:|" * (len(names) + 1),
    ]
    kernel = profiles.PROFILES["kernel"].choices
    for timeout in kernel:
        cells = []
        for name in names:
            seconds = profiles.PROFILES[name].choices[timeout].seconds
            cells.append(str(seconds) if seconds == kernel[timeout].seconds else f"**{seconds}**")
        floor = profiles.RFC_FLOORS.get(timeout)
        cells.append(f"{floor.seconds}" if floor else "")
        lines.append(f"| {timeout} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Bold differs from what the kernel has compiled in (`udp_stream` was 180 before kernel 5.0). The floors are those of",
        "RFC 5382 REQ-5 (TCP), RFC 4787 REQ-5 (UDP) and RFC 5508 REQ-2 (ICMP); `conntrack_rfc_floors` says what is done about",
        "a value below its floor on a host that translates addresses, or with the profile gateway.",
        "",
        "A timeout applies to an entry from its next packet on: lowering one does not shorten entries that are already there.",
        "",
        "The kernel keeps 2147483647 of its ticks at most: 21474836 s where it has 100 of them a second (`CONFIG_HZ`), 8589934 s with 250,",
        "7158278 s with 300, and 2147483 s with 1000. What is more is refused, before anything is changed. Where it is not known how many",
        "there are, as in an image, 2147483 s are the most.",
        "",
        "`conntrack_tcp_loose` and `conntrack_tcp_be_liberal` are no timeouts, and treated as such: of each network namespace, written,",
        "set, proved and undone with them. Unset, they are left alone.",
        "",
        "A flow that a rule gives a timeout policy (`ct timeout` of nftables, `CT --timeout` of iptables) has that policy's timeouts in",
        "place of these; `conntrack_expire` [leaves its entry alone](incident.md#timeout-policies).",
    ]
    for name in names:
        profile = profiles.PROFILES[name]
        lines += ["", f"## {name}", "", profile.purpose, ""]
        if name == "kernel":
            lines += [
                "Source: net/netfilter/nf_conntrack_proto_tcp.c, _udp.c, _icmp.c, _icmpv6.c and _generic.c of the Linux tree."
            ]
            continue
        lines += ["| timeout | seconds | why |", "|---|---:|---|"]
        lines += [f"| {timeout} | {choice.seconds} | {choice.reason} |" for timeout, choice in profile.choices.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
