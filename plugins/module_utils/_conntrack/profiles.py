# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeout profiles and the floors of the RFCs: each value with its reason. docs/timeouts.md is made of this.

All values are seconds. A profile names the same timeouts as every other, so that a change of profile
leaves nothing of the one before.
"""

from typing import Dict, List, NamedTuple

from .kernel import TIMEOUTS


class Choice(NamedTuple):
    seconds: int
    reason: str


class Profile(NamedTuple):
    purpose: str
    choices: Dict[str, Choice]

    def seconds(self) -> Dict[str, int]:
        return {name: choice.seconds for name, choice in self.choices.items()}


class Floor(NamedTuple):
    seconds: int
    source: str


_KEEPALIVE = (
    "RFC 5382 REQ-5: two hours and four minutes, so that a keepalive every two hours (RFC 1122, Linux 7200 s) holds it"
)
_SYN_RETRY = "longer than the 32 s between the last two retries of Linux's connect (tcp_syn_retries 6)"
_SYNACK_RETRY = "longer than the 16 s between the last two retries of Linux's SYN-ACK (tcp_synack_retries 5)"
_SOCKET_60 = "as long as Linux's own socket stays in this state (60 s)"
_HALF_OPEN = "a client that has finished sending and still receives: each packet starts it anew"
_FIN_RETRY = "covers a few retries of a lost last ACK; the kernel's own"
_RESET = "after a reset nothing follows; the kernel's own"
_RETRANSMIT = "the kernel's own: bounds a peer that vanished with data in flight"
_TRANSITORY = "RFC 5382 REQ-5: four minutes for a connection that opens or closes"
_PING = "ping itself gives up after 10 s (iputils -W)"
_GENERIC = "protocols without a state of their own (IPsec, IGMP), which keep alive within five minutes"
_KERNEL = "compiled in"

_KERNEL_CHOICES = {
    name: Choice(TIMEOUTS[name], _KERNEL)
    for name in TIMEOUTS
    if name.startswith("tcp_") or name in ("udp", "udp_stream", "icmp", "icmpv6", "generic")
}


def _but(base: Dict[str, Choice], **changes: Choice) -> Dict[str, Choice]:
    merged = dict(base)
    merged.update(changes)
    return merged


_SERVER_CHOICES = _but(
    _KERNEL_CHOICES,
    tcp_syn_sent=Choice(60, _SYN_RETRY),
    tcp_syn_recv=Choice(30, _SYNACK_RETRY),
    tcp_established=Choice(7440, _KEEPALIVE),
    tcp_fin_wait=Choice(60, _SOCKET_60),
    tcp_close_wait=Choice(60, _HALF_OPEN),
    tcp_last_ack=Choice(30, _FIN_RETRY),
    tcp_time_wait=Choice(60, _SOCKET_60),
    tcp_close=Choice(10, _RESET),
    tcp_max_retrans=Choice(300, _RETRANSMIT),
    tcp_unacknowledged=Choice(300, _RETRANSMIT),
    udp=Choice(30, "a question and its answer; the kernel's own"),
    udp_stream=Choice(120, "RFC 4787 REQ-5 asks for two minutes; the kernel's own since 5.0"),
    icmp=Choice(10, _PING),
    icmpv6=Choice(10, _PING),
    generic=Choice(300, _GENERIC),
)

PROFILES: Dict[str, Profile] = {
    "kernel": Profile(
        "The values compiled into the kernel, written out: the way back from any other profile.",
        _KERNEL_CHOICES,
    ),
    "server": Profile(
        "A host that ends its connections itself: web, database, application, mail.",
        _SERVER_CHOICES,
    ),
    "gateway": Profile(
        "A router or NAT gateway for others: nothing below what the RFCs ask of a NAT.",
        _but(
            _SERVER_CHOICES,
            tcp_syn_sent=Choice(240, _TRANSITORY),
            tcp_syn_recv=Choice(240, _TRANSITORY),
            tcp_fin_wait=Choice(240, _TRANSITORY),
            tcp_close_wait=Choice(240, _TRANSITORY),
            tcp_last_ack=Choice(240, _TRANSITORY),
            tcp_time_wait=Choice(240, _TRANSITORY),
            tcp_close=Choice(
                10, "the kernel's own; RFC 7857's 240 s after a reset are not taken: resets would fill the table"
            ),
            udp=Choice(120, "RFC 4787 REQ-5: two minutes at least"),
            udp_stream=Choice(300, "RFC 4787 REQ-5: five minutes recommended"),
            icmp=Choice(60, "RFC 5508 REQ-2: one minute at least"),
            icmpv6=Choice(60, "RFC 5508 REQ-2: one minute at least"),
            generic=Choice(600, "the kernel's own: tunnels of others pass through, their keepalive is not known"),
        ),
    ),
    "kubernetes": Profile(
        "A node whose kube-proxy writes two of these itself: the same values, so that neither undoes the other.",
        _but(
            _SERVER_CHOICES,
            tcp_established=Choice(86400, "kube-proxy's default, conntrack.tcpEstablishedTimeout 24h"),
            tcp_close_wait=Choice(3600, "kube-proxy's default, conntrack.tcpCloseWaitTimeout 1h"),
            udp=Choice(
                30, "kube-proxy leaves it (conntrack.udpTimeout 0); DNS to a service is a question and its answer"
            ),
            udp_stream=Choice(120, "kube-proxy leaves it (conntrack.udpStreamTimeout 0); the kernel's own"),
        ),
    ),
    "dns": Profile(
        "A name server: a great many questions of one packet each.",
        _but(
            _SERVER_CHOICES,
            tcp_time_wait=Choice(30, "DNS over TCP is short; a reused port opens a new entry anyway"),
            udp=Choice(10, "twice the 5 s after which a resolver asks again (resolv.conf timeout)"),
            udp_stream=Choice(30, "a forwarder that keeps its port asks again within this, or starts anew at no cost"),
        ),
    ),
    "edge": Profile(
        "A proxy, load balancer or cache with a high rate of short connections and idle limits of its own.",
        _but(
            _SERVER_CHOICES,
            tcp_syn_sent=Choice(40, _SYN_RETRY),
            tcp_syn_recv=Choice(20, _SYNACK_RETRY),
            tcp_established=Choice(
                1800, "the proxy's own idle limits are minutes; half an hour leaves room for upgrades to sockets"
            ),
            tcp_fin_wait=Choice(30, "the proxy closes both sides; half of the socket's own 60 s"),
            tcp_close_wait=Choice(30, "the proxy closes at once when its peer has"),
            tcp_time_wait=Choice(30, "a reused port opens a new entry anyway; the most numerous state at a high rate"),
            udp_stream=Choice(60, "QUIC idles for 30 s by common default (RFC 9000 leaves it to the ends): twice that"),
            generic=Choice(120, "nothing but IPsec or health checks passes here"),
        ),
    ),
}

# What a NAT must not go below.
RFC_FLOORS: Dict[str, Floor] = {
    "tcp_established": Floor(7440, "RFC 5382 REQ-5"),
    "tcp_syn_sent": Floor(240, "RFC 5382 REQ-5"),
    "tcp_syn_recv": Floor(240, "RFC 5382 REQ-5"),
    "tcp_fin_wait": Floor(240, "RFC 5382 REQ-5"),
    "tcp_close_wait": Floor(240, "RFC 5382 REQ-5"),
    "tcp_last_ack": Floor(240, "RFC 5382 REQ-5"),
    "tcp_time_wait": Floor(240, "RFC 5382 REQ-5"),
    "udp": Floor(120, "RFC 4787 REQ-5"),
    "udp_stream": Floor(120, "RFC 4787 REQ-5"),
    "icmp": Floor(60, "RFC 5508 REQ-2"),
    "icmpv6": Floor(60, "RFC 5508 REQ-2"),
}


def below_floors(timeouts: Dict[str, int]) -> List[str]:
    """The names of those that a NAT may not have so short, in the order of the floors."""
    return [name for name in RFC_FLOORS if name in timeouts and timeouts[name] < RFC_FLOORS[name].seconds]
