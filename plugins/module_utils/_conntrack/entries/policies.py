# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timeouts that rules give to flows of their choice: `ct timeout` of nftables, and `CT --timeout` of iptables and Open vSwitch.

The kernel tells which there are and what they give, and takes one from all its flows when it is deleted. It does not tell which
entry is under which: that is an extension of an entry that ctnetlink has no attribute for. So known are the entries that are under
none: those of protocols that no policy is for, and those that have more left than a policy gives to their state.

Sources: net/netfilter/nft_ct.c, nfnetlink_cttimeout.c and nf_conntrack_timeout.c; their headers nf_tables.h and
nfnetlink_cttimeout.h of include/uapi/linux/netfilter.
"""

import contextlib
import errno
import os
import struct
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.ctnetlink import is_loaded
from ..host.door import Host
from ..host.netfilter import Netfilter
from ..host.netlink import attributes, dump_of, told
from . import entry as entries
from .census import Kind
from .reading import ATTEMPTS, TableError, why

# What a policy for protocols that connection tracking knows nothing of has for a protocol (nf_conntrack_proto_generic.c).
_GENERIC = 255
# What a kernel says that has no such rules: it knows neither the request nor the part of it that would answer.
_NONE = (errno.EINVAL, errno.EOPNOTSUPP)


class Policy(NamedTuple):
    """What a rule can give to flows."""

    protocol: int
    family: Optional[int]  # as socket.AF_INET; None for both
    seconds: Dict[int, int]  # by the number of a state, or 1 before a reply and 2 after


class Kept(NamedTuple):
    """Where the kernel keeps policies."""

    module: str  # without it there are none
    request: int  # type of a message
    filter: bytes  # attributes of the request
    nested: Tuple[int, ...]  # attributes, one in the other, in which a policy is
    family: int  # attributes of it
    protocol: int
    seconds: int
    both: bool  # whether it is for flows of both families, whatever it says


# NFT_MSG_GETOBJ of NFNL_SUBSYS_NFTABLES, of NFTA_OBJ_TYPE NFT_OBJECT_CT_TIMEOUT: nft_ct_timeout_obj_eval compares protocols alone.
_NFTABLES = Kept("nft_ct", 0xA13, struct.pack("=HH", 8, 3) + struct.pack(">I", 7), (4,), 1, 2, 3, True)
# IPCTNL_MSG_TIMEOUT_GET of NFNL_SUBSYS_CTNETLINK_TIMEOUT.
_CTTIMEOUT = Kept("nfnetlink_cttimeout", 0x801, b"", (), 2, 3, 4, False)


class Policies:
    """Those of a network namespace."""

    def __init__(self, policies: List[Policy]) -> None:
        self.policies = policies

    def most(self, family: int, kind: Kind) -> int:
        """Seconds: what an entry of that kind that is under one of them has left at most; 0 where it is under none."""
        return max((_most(policy, kind) for policy in self.policies if policy.family in (None, family)), default=0)


def _most(policy: Policy, kind: Kind) -> int:
    name = entries.timeout_name(*kind)
    if policy.protocol != (_GENERIC if name == "generic" else kind.protocol):
        return 0
    if kind.state is not None and kind.protocol in entries.STATES:
        numbers: Tuple[int, ...] = (kind.state,)
    elif kind.status & entries.SEEN_REPLY:
        # For its first two seconds a flow that is answered has the first of them still.
        numbers = (1, 2)
    else:
        numbers = (1,)
    longest = max(policy.seconds.values(), default=0)
    known = [policy.seconds[number] for number in numbers if number in policy.seconds]
    return max(known) if known else longest


def read(host: Host) -> Policies:
    """Raises TableError where the kernel does not say which there are."""
    found: List[Policy] = []
    for kept in (_NFTABLES, _CTTIMEOUT):
        # What is not loaded has no policies.
        if is_loaded(host, kept.module):
            found += _those(host, kept)
    return Policies(found)


def _those(host: Host, kept: Kept) -> List[Policy]:
    try:
        for _attempt in range(ATTEMPTS):
            with contextlib.closing(host.netfilter()) as conversation:
                found = _answered(conversation, kept)
            if found is not None:
                return found
    except OSError as error:
        if error.errno == errno.EPERM:
            raise TableError(why(error, None)) from None
        raise TableError(
            "the kernel does not say which timeout policies there are ({0}, {1}), so that entries under one cannot be left alone: "
            "make it answer for {2}, which a security module such as SELinux may forbid, or say under_policies: true".format(
                errno.errorcode.get(error.errno or 0, error.errno), error.strerror, kept.module
            )
        ) from None
    raise TableError("rules were changed all the while that they were read for timeout policies: run again")


def _answered(conversation: Netfilter, kept: Kept) -> Optional[List[Policy]]:
    """None where rules were changed meanwhile."""
    found = []
    conversation.shut_out()
    conversation.send(dump_of(kept.request, kept.filter, conversation.sequence))
    for answer in conversation.received():
        for message in told(answer):
            if message.error in _NONE:
                return []
            if message.error:
                raise OSError(message.error, os.strerror(message.error))
            if message.interrupted:
                return None
            policy = _policy(message.attributes, kept)
            if policy:
                found.append(policy)
    return found


def _policy(inside: Mapping[int, bytes], kept: Kept) -> Optional[Policy]:
    for kind in kept.nested:
        inside = attributes(inside.get(kind, b""))
    if kept.protocol not in inside:
        return None
    return Policy(
        _number(inside[kept.protocol]),
        None if kept.both else _number(inside.get(kept.family, b"")) or None,
        {kind: _number(value) for kind, value in attributes(inside.get(kept.seconds, b"")).items()},
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
