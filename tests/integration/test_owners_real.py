# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Programs that set keys of connection tracking, run for real: what they write is what the collection says of them, no key less
and none more. Each on a stage of its own, on which nothing is the kernel's."""

from __future__ import annotations

import os
from typing import NamedTuple

import kube_proxy
import programs
import pytest
import stage

WANTED = "/etc/systemd/system/multi-user.target.wants/"
# Fewer than any of them wants, and so many that some are lowered.
VALUES = {"hashsize": 4096, "max": 262144}
CPUS = len(os.sched_getaffinity(0))

TUNED = """[main]
summary=for a test
[sysctl]
net.netfilter.nf_conntrack_max=333312
net.netfilter.nf_conntrack_udp_timeout=>20
net.netfilter.nf_conntrack_generic_timeout=<300
[sysfs]
/sys/module/nf_conntrack/parameters/hashsize=83456
"""
FIREHOL = "FIREHOL_CONNTRACK_MAX=222222\nFIREHOL_CONNTRACK_HASHSIZE=55808\nFIREHOL_CONNTRACK_LOOSE_MATCHING=0\n"
HOURS = {"tcp_timeout_established": 86400, "tcp_timeout_close_wait": 3600}


class Case(NamedTuple):
    package: str
    program: str
    command: list[str]
    files: dict[str, str]
    written: dict[str, int]
    until: str | None = None
    applied: tuple[str, ...] = ()  # what it sets because a file of sysctl.d says so


CASES = {
    "ufw": Case(
        "ufw",
        "ufw",
        ["/lib/ufw/ufw-init", "start"],
        {
            "/etc/ufw/ufw.conf": "ENABLED=yes\n",
            "/etc/ufw/sysctl.conf": "net/netfilter/nf_conntrack_max=123456\nnet/netfilter/nf_conntrack_udp_timeout = 31\n",
            **{
                f"/etc/ufw/{name}{family}.rules": "*filter\nCOMMIT\n"
                for name in ("before", "after", "user")
                for family in ("", "6")
            },
        },
        {"max": 123456, "udp_timeout": 31},
    ),
    "ufw that is off": Case(
        "ufw",
        "ufw",
        ["/lib/ufw/ufw-init", "start"],
        {"/etc/ufw/ufw.conf": "ENABLED=no\n", "/etc/ufw/sysctl.conf": "net/netfilter/nf_conntrack_max=123456\n"},
        {},
    ),
    "tuned": Case(
        "tuned",
        "tuned",
        ["tuned", "--no-dbus"],
        {
            "/etc/tuned/mine/tuned.conf": TUNED,
            "/etc/tuned/active_profile": "mine\n",
            "/etc/tuned/profile_mode": "manual\n",
            WANTED + "tuned.service": "",
        },
        {"max": 333312, "hashsize": 83456, "generic_timeout": 300},
        until="profile 'mine' applied",
    ),
    "tuned that applies sysctl.d after its profile": Case(
        "tuned",
        "tuned",
        ["tuned", "--no-dbus"],
        {
            "/etc/tuned/mine/tuned.conf": TUNED,
            "/etc/tuned/active_profile": "mine\n",
            "/etc/tuned/profile_mode": "manual\n",
            "/etc/sysctl.d/here.conf": "net.netfilter.nf_conntrack_max = 300032\n",
            WANTED + "tuned.service": "",
        },
        {"max": 300032, "hashsize": 83456, "generic_timeout": 300},
        until="profile 'mine' applied",
        applied=("max",),
    ),
    "arno-iptables-firewall": Case(
        "arno-iptables-firewall",
        "arno-iptables-firewall",
        ["arno-iptables-firewall", "start"],
        {
            "/etc/arno-iptables-firewall/conf.d/here.conf": "EXT_IF=eth0\n",
            WANTED + "arno-iptables-firewall.service": "",
        },
        {"max": 16384, "udp_timeout": 60, "acct": 1},
    ),
    "arno-iptables-firewall without a limit": Case(
        "arno-iptables-firewall",
        "arno-iptables-firewall",
        ["arno-iptables-firewall", "start"],
        {
            "/etc/arno-iptables-firewall/conf.d/here.conf": "EXT_IF=eth0\nCONNTRACK=0\n",
            WANTED + "arno-iptables-firewall.service": "",
        },
        {"udp_timeout": 60, "acct": 1},
    ),
    "firehol": Case(
        "firehol",
        "firehol",
        ["firehol", "start"],
        {
            "/etc/default/firehol": "START_FIREHOL=YES\n",
            "/etc/firehol/firehol-defaults.conf": FIREHOL,
            "/etc/firehol/firehol.conf": "version 6\ninterface any world\n policy accept\n",
            WANTED + "firehol.service": "",
        },
        {"max": 222222, "hashsize": 55808, "tcp_loose": 0},
    ),
    "docker": Case(
        "docker.io",
        "dockerd",
        ["dockerd", "--data-root=/run/data", "--host=unix:///run/here.sock", "--storage-driver=vfs"],
        {WANTED + "docker.service": ""},
        {},
        until="API listen on",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_writes_what_is_said_of_it(name: str) -> None:
    case = CASES[name]
    seen = stage.seen(programs.program(case.program, case.package).root, case.command, case.files, case.until, VALUES)
    compared(seen, case.written, case.applied)


def compared(seen: stage.Seen, written: dict[str, int], applied: tuple[str, ...] = ()) -> None:
    assert seen.written == {full(key): value for key, value in written.items()}, seen.output
    # What is said and was not written was so before.
    assert {key: int(seen.after[key]) for key in seen.said} == seen.said
    assert set(seen.written) - set(map(full, applied)) <= set(seen.said)


def full(key: str) -> str:
    return key if key == "hashsize" else "nf_conntrack_" + key


# By each cpu more than the least, so that a limit tells which of the two it was made of.
PER_CORE = f"--conntrack-max-per-core={200000 // CPUS}"
PROXY_CONFIG = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 127.0.0.1
hostnameOverride: here
clientConnection:
  kubeconfig: /etc/kubeconfig
conntrack:
  maxPerCore: 1
  min: 150000
  tcpEstablishedTimeout: 2h30m
  tcpCloseWaitTimeout: 0s
"""
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: a, context: {cluster: a}}]
current-context: a
"""
PROXIES = {
    "as it comes": ([], {}, {"max": max(131072, 32768 * CPUS), "hashsize": max(131072, 32768 * CPUS) // 4, **HOURS}),
    "flags": (
        [
            PER_CORE,
            "--conntrack-min=1000",
            "--conntrack-tcp-timeout-established",
            "3h",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        {},
        {"max": 200000 // CPUS * CPUS, "hashsize": 200000 // CPUS * CPUS // 4, "tcp_timeout_established": 10800},
    ),
    "left alone": (["--conntrack-max-per-core=0"], {}, HOURS),
    "buckets enough": ([PER_CORE], {"hashsize": 262144}, {"max": 200000 // CPUS * CPUS, **HOURS}),
    "a configuration": (
        ["--config=/etc/kube-proxy.yaml", PER_CORE],
        {},
        {"max": 150000, "hashsize": 37500, "tcp_timeout_established": 9000},
    ),
}


@pytest.mark.parametrize("name", PROXIES)
def test_a_kube_proxy_writes_what_is_said_of_it(name: str) -> None:
    if not (kube_proxy.home() / "usr/bin/kube-proxy").exists():
        pytest.skip("there is no kube-proxy: tests/integration/kube_proxy.py builds one")
    flags, values, written = PROXIES[name]
    plain = (
        [] if "--config=/etc/kube-proxy.yaml" in flags else ["--master=http://127.0.0.1:1", "--bind-address=127.0.0.1"]
    )
    command = ["kube-proxy", *plain, "--hostname-override=here", "-v=2", *flags]
    files = {"/etc/kube-proxy.yaml": PROXY_CONFIG, "/etc/kubeconfig": KUBECONFIG}
    # Which it says when it has set them.
    until = "Starting service config controller"
    compared(stage.seen(kube_proxy.home(), command, files, until, {**VALUES, **values}), written)
