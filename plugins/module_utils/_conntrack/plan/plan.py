# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan: what should be, each number with its reason, and what differs."""

from typing import Any, Dict, List, NamedTuple, Optional


class Drift(NamedTuple):
    """One thing that is not as planned."""

    kind: str  # live, file, service, line (of another's file) or ramdisk (to be made anew)
    name: str  # dotted sysctl name, hashsize, or path
    found: Any
    wanted: Any
    said: str  # in words


class Plan(NamedTuple):
    max: Optional[int]  # entries
    buckets: Optional[int]
    hashsize: Optional[int]  # what modprobe.d says, so that a load gives ``buckets``
    expect_max: Optional[int]  # expectations; None where the kernel has no such key
    timeouts: Dict[str, int]  # seconds
    full_bytes: Optional[int]
    sysctl: Dict[str, int]  # dotted names in the order they are written
    files: List[str]  # what this host needs
    templates: List[str]  # of the role, one for each of the files
    contents: Optional[Dict[str, str]]  # of the files by path, as rendered; None before they are
    systemd_sysctl: Optional[str]  # the path that the udev rule calls
    live: Dict[str, Any]  # options of conntrack_settings: what can be and is to be written now
    reasons: Dict[str, str]
    warnings: List[str]
    refusals: List[str]
    drift: List[Drift]
    converged: bool  # neither drift nor refusals
    # By event, boot and reload, and by key, hashsize among them: what the proof demands.
    expected: Dict[str, Dict[str, int]] = {}
    # path, found, wanted: lines of services' and of others' files that are to be swapped wherever they stand.
    lines: List[Dict[str, str]] = []
    switches: Dict[str, int] = {}  # of tcp, those that are asked for
    reboot_needed: List[str] = []  # keys that only a boot makes what they are to be
    sized_at_boot: bool = (
        False  # limit, buckets and expectations are left to the unit that sizes at a boot; no file says them
    )
