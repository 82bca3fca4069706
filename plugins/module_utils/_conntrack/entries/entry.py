# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of the table is: protocols, states, the bits of its status, and the timeout that it lives by. Pure.

Sources are headers of the Linux tree, include/uapi/linux/netfilter/nf_conntrack_{common,tcp,sctp}.h, and for DCCP
nf_conntrack_dccp.h of kernels before 6.17.
"""

from typing import Dict, Mapping, NamedTuple, Optional, Tuple

# enum ip_conntrack_status
SEEN_REPLY = 1 << 1
ASSURED = 1 << 2
SRC_NAT, DST_NAT = 1 << 4, 1 << 5
FIXED_TIMEOUT = 1 << 10
OFFLOAD = 1 << 14
HW_OFFLOAD = 1 << 15
# The kernel does not let go of these by the clock: not to be shortened.
LEFT_ALONE = FIXED_TIMEOUT | OFFLOAD | HW_OFFLOAD
TRANSLATED = SRC_NAT | DST_NAT

ICMP, TCP, UDP, DCCP, GRE, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 58, 132, 136
PROTOCOLS: Dict[int, str] = {
    ICMP: "icmp",
    TCP: "tcp",
    UDP: "udp",
    DCCP: "dccp",
    GRE: "gre",
    ICMPV6: "icmpv6",
    SCTP: "sctp",
    UDPLITE: "udplite",
}
NUMBERS: Dict[str, int] = {name: number for number, name in PROTOCOLS.items()}
WITH_PORTS = (TCP, UDP, DCCP, SCTP, UDPLITE)


class State(NamedTuple):
    """A state of a protocol that has some of its own."""

    name: str  # as conntrack and /proc/net/nf_conntrack print it
    timeout: Optional[str]  # the timeout's name, None for a state that has none


# By the number that the kernel gives.
STATES: Dict[int, Tuple[State, ...]] = {
    TCP: (
        State("NONE", None),
        State("SYN_SENT", "tcp_syn_sent"),
        State("SYN_RECV", "tcp_syn_recv"),
        State("ESTABLISHED", "tcp_established"),
        State("FIN_WAIT", "tcp_fin_wait"),
        State("CLOSE_WAIT", "tcp_close_wait"),
        State("LAST_ACK", "tcp_last_ack"),
        State("TIME_WAIT", "tcp_time_wait"),
        State("CLOSE", "tcp_close"),
        # Both sides have opened at once; its 120 seconds have no sysctl.
        State("SYN_SENT2", "tcp_syn_sent"),
    ),
    SCTP: (
        State("NONE", None),
        State("CLOSED", "sctp_closed"),
        State("COOKIE_WAIT", "sctp_cookie_wait"),
        State("COOKIE_ECHOED", "sctp_cookie_echoed"),
        State("ESTABLISHED", "sctp_established"),
        State("SHUTDOWN_SENT", "sctp_shutdown_sent"),
        State("SHUTDOWN_RECD", "sctp_shutdown_recd"),
        State("SHUTDOWN_ACK_SENT", "sctp_shutdown_ack_sent"),
        State("HEARTBEAT_SENT", "sctp_heartbeat_sent"),
        State("HEARTBEAT_ACKED", "sctp_heartbeat_acked"),
    ),
    DCCP: (
        State("NONE", None),
        State("REQUEST", "dccp_request"),
        State("RESPOND", "dccp_respond"),
        State("PARTOPEN", "dccp_partopen"),
        State("OPEN", "dccp_open"),
        State("CLOSEREQ", "dccp_closereq"),
        State("CLOSING", "dccp_closing"),
        State("TIMEWAIT", "dccp_timewait"),
        State("IGNORE", None),
        State("INVALID", None),
    ),
}

# Those whose replied entries have a timeout of their own.
_STREAMS = {UDP: "udp", UDPLITE: "udplite", GRE: "gre"}
_SIMPLE = {ICMP: "icmp", ICMPV6: "icmpv6"}

OFFLOADED = "OFFLOAD"
REPLIED, UNREPLIED = "REPLIED", "UNREPLIED"
# A flow of TCP that was picked up in its midst (nf_conntrack_tcp_loose), as after a table was lost; nobody has answered since.
_ESTABLISHED, PICKED_UP = "ESTABLISHED", "ESTABLISHED_UNREPLIED"
_PICKED_UP_BY = "tcp_unacknowledged"
STATE_NAMES = frozenset(state.name for states in STATES.values() for state in states) | {
    OFFLOADED,
    REPLIED,
    UNREPLIED,
    PICKED_UP,
}


def protocol_name(number: int) -> str:
    """The number itself, as text, for a protocol that connection tracking has no module for."""
    return PROTOCOLS.get(number, str(number))


def state_name(number: int, status: int, state: Optional[int]) -> str:
    """What conntrack prints: the protocol's own state, or whether there was a reply; both of what is established without one."""
    if status & (OFFLOAD | HW_OFFLOAD):
        return OFFLOADED
    states = STATES.get(number)
    if states is None or state is None:
        return REPLIED if status & SEEN_REPLY else UNREPLIED
    name = states[state].name if state < len(states) else str(state)
    return PICKED_UP if name == _ESTABLISHED and not status & SEEN_REPLY else name


def timeout_name(number: int, status: int, state: Optional[int]) -> Optional[str]:
    """Of the timeout that an entry gets with its next packet in the state in which it is; None where that cannot be told.

    An answered UDP flow has the timeout of streams, though kernels since 5.0 give it that after two seconds only.
    DCCP and SCTP without a state are of a kernel that was built without them, to which they are any protocol.
    """
    if status & (OFFLOAD | HW_OFFLOAD):
        return None
    if number == TCP and state_name(number, status, state) == PICKED_UP:
        return _PICKED_UP_BY
    states = STATES.get(number)
    if states is not None and state is not None:
        return states[state].timeout if state < len(states) else None
    if number == TCP:
        return None
    if number in _STREAMS:
        return _STREAMS[number] + ("_stream" if status & SEEN_REPLY else "")
    return _SIMPLE.get(number, "generic")


def lived_by(timeouts: Mapping[str, int]) -> Dict[str, int]:
    """Seconds by name, as entries live by them: what was picked up in its midst has no more than what is established
    (nf_conntrack_tcp_packet)."""
    bounds = [timeouts[name] for name in (_PICKED_UP_BY, "tcp_established") if name in timeouts]
    return dict(timeouts, **({_PICKED_UP_BY: min(bounds)} if bounds else {}))
