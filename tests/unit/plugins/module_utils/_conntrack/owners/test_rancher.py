# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What k3s and RKE2 set at their start, by their processes, units and configuration."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.finder import owners

NAMES = kernel.FLAVOURS["nf_conntrack"]
MAX, ESTABLISHED, CLOSE_WAIT = (
    NAMES.prefix + key for key in ("max", "tcp_timeout_established", "tcp_timeout_close_wait")
)
HOURS = {ESTABLISHED: 86400, CLOSE_WAIT: 3600}
DEFAULTS = dict(HOURS, **{MAX: 262144})
UNKNOWN = {MAX: None, ESTABLISHED: None, CLOSE_WAIT: None}

CONFIG = "/etc/rancher/k3s/config.yaml"
UNIT = "/etc/systemd/system/k3s.service"
PROCESS = {"/proc/4711/comm": "k3s-server\n", "/proc/4711/cmdline": "/usr/local/bin/k3s server\0\0\0"}
# As its installer writes it.
STARTS = "[Service]\nExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/local/bin/k3s \\\n    server \\\n"
PROCESS[UNIT] = STARTS


def found(tmp_path, *trees, **more):
    for path, text in [item for tree in trees for item in tree.items()]:
        at = tmp_path / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
    return owners(Host(str(tmp_path)), NAMES, more.get("cpus", 8))[0]


def keys(found):
    assert all(owner.at_boot and owner.path is None for owner in found)
    return {key: value for owner in found for key, value in owner.keys.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, DEFAULTS),
        ({CONFIG: "write-kubeconfig-mode: '0644'\nkube-proxy-arg:\n  - conntrack-max-per-core=0\n"}, HOURS),
        (
            {CONFIG: "kube-proxy-arg: [conntrack-max-per-core=0, conntrack-tcp-timeout-established=0s]\n"},
            {CLOSE_WAIT: 3600},
        ),
        ({CONFIG: "kube-proxy-arg: conntrack-max-per-core=0 # why\n"}, HOURS),
        ({CONFIG: "# kube-proxy-arg: conntrack-max-per-core=0\n"}, DEFAULTS),
        (
            {CONFIG: "kube-proxy-arg:\n# one\n- '--conntrack-min=500000'\nnode-name: a\n"},
            dict(DEFAULTS, **{MAX: 500000}),
        ),
        (
            {CONFIG: "kube-proxy-arg:\n- conntrack-udp-timeout=10s\n"},
            dict(DEFAULTS, **{NAMES.prefix + "udp_timeout": 10}),
        ),
        ({CONFIG: "kube-proxy-arg: |\n  conntrack-max-per-core=0\n"}, UNKNOWN),
        (
            {CONFIG: "kube-proxy-arg:\n- conntrack-max-per-core=16384\n"},
            dict(HOURS, **{MAX: 131072, "hashsize": 32768}),
        ),
        (
            {CONFIG: "kube-proxy-arg: conntrack-max-per-core=0\n", CONFIG + ".d/10.yaml": "kube-proxy-arg: v=1\n"},
            DEFAULTS,
        ),
        (
            {CONFIG: "kube-proxy-arg: conntrack-max-per-core=0\n", CONFIG + ".d/10.yml": "kube-proxy-arg+: [v=1]\n"},
            HOURS,
        ),
        ({CONFIG + ".d/10.yaml": "kube-proxy-arg: conntrack-max-per-core=0\n"}, HOURS),
        ({CONFIG + ".d/10.txt": "kube-proxy-arg: conntrack-max-per-core=0\n"}, DEFAULTS),
        ({UNIT: STARTS + "\t'--kube-proxy-arg' \\\n\t'conntrack-max-per-core=0' \\\n"}, HOURS),
        (
            {
                UNIT: STARTS + " --kube-proxy-arg=conntrack-max-per-core=0\n",
                CONFIG: "kube-proxy-arg: conntrack-min=1\n",
            },
            HOURS,
        ),
        (
            {UNIT: STARTS + "--config /etc/own.yaml\n", "/etc/own.yaml": "kube-proxy-arg: conntrack-max-per-core=0\n"},
            HOURS,
        ),
        (
            {
                UNIT + ".env": "K3S_CONFIG_FILE=/etc/own.yaml\n",
                "/etc/own.yaml": "kube-proxy-arg: conntrack-max-per-core=0\n",
            },
            HOURS,
        ),
        ({UNIT: STARTS + "-c https://elsewhere/\n"}, UNKNOWN),
        ({UNIT: STARTS + "'never ended\n"}, UNKNOWN),
    ],
    ids=[
        "silent",
        "list",
        "list in one line",
        "one word",
        "comment",
        "two hyphens",
        "what only its kube-proxy knows",
        "a block of text",
        "said to its kube-proxy as well",
        "replaced by the folder",
        "added to by the folder",
        "folder alone",
        "no YAML",
        "command",
        "command after the file",
        "another file",
        "another file by the environment",
        "from the network",
        "no words",
    ],
)
def test_k3s(tmp_path, files, expected):
    assert keys(found(tmp_path, PROCESS, files)) == expected


def test_it_knows_no_highest_limit(tmp_path):
    assert keys(found(tmp_path, PROCESS, cpus=64))[MAX] == 2097152


@pytest.mark.parametrize(("buckets", "written"), [("32769", False), ("32768", True)])
def test_its_kube_proxy_only_raises_the_buckets(tmp_path, buckets, written):
    asked = {
        CONFIG: "kube-proxy-arg: conntrack-max-per-core=16384\n",
        "/sys/module/nf_conntrack/parameters/hashsize": buckets,
    }
    assert ("hashsize" in keys(found(tmp_path, PROCESS, asked))) is written


def test_where_it_says_so(tmp_path):
    (owner,) = found(tmp_path, PROCESS, {CONFIG: "kube-proxy-arg: [conntrack-min=500000, v=1]\n"})
    assert owner.name == "k3s"
    assert owner.evidence == "process 4711: k3s-server, " + CONFIG + " conntrack-min=500000 (8 cpus)"
    assert CONFIG in owner.remedy


def test_one_that_no_unit_of_its_name_starts(tmp_path):
    (owner,) = found(tmp_path, {"/proc/4711/comm": "k3s-agent\n", CONFIG: "kube-proxy-arg: conntrack-max-per-core=0\n"})
    assert owner.keys == UNKNOWN
    assert owner.evidence == "process 4711: k3s-agent, whose arguments cannot be seen"


def test_openrc(tmp_path):
    arguments = ["server", "  '--kube-proxy-arg'", "  'conntrack-max-per-core=0'", ">>/var/log/k3s.log 2>&1"]
    script = '#!/sbin/openrc-run\ncommand="/usr/local/bin/k3s"\ncommand_args="{0}"\n'.format(" \\\n".join(arguments))
    assert keys(found(tmp_path, {"/proc/4711/comm": "k3s-server\n", "/etc/init.d/k3s": script})) == HOURS


RKE2 = {"/usr/local/lib/systemd/system/rke2-server.service": "[Service]\nExecStart=/usr/local/bin/rke2 server\n"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [("rke2 server", DEFAULTS), ("rke2\0server\0", DEFAULTS), ("rke2 etcd-snapshot", {}), ("rke2", {})],
)
def test_rke2(tmp_path, command, expected):
    process = {"/proc/4711/comm": "rke2\n", "/proc/4711/cmdline": "/usr/local/bin/" + command}
    assert keys(found(tmp_path, RKE2, process)) == expected


def test_kube_proxy_of_rke2_is_told_to_set_nothing(tmp_path):
    zeros = (
        "--conntrack-max-per-core=0\0--conntrack-tcp-timeout-close-wait=0s\0--conntrack-tcp-timeout-established=0s\0"
    )
    processes = {
        "/proc/4711/comm": "rke2\n",
        "/proc/4711/cmdline": "/usr/local/bin/rke2 server",
        "/proc/4712/comm": "kube-proxy\n",
        "/proc/4712/cmdline": "kube-proxy\0" + zeros,
    }
    (owner,) = found(tmp_path, RKE2, processes)
    assert (owner.name, owner.keys) == ("rke2", DEFAULTS)


@pytest.mark.parametrize(
    ("unit", "name"), [("k3s", "k3s"), ("k3s-agent", "k3s"), ("rke2-server", "rke2"), ("rke2-agent", "rke2")]
)
def test_what_is_only_enabled(tmp_path, unit, name):
    starts = {
        "/etc/systemd/system/{0}.service".format(unit): "[Service]\nExecStart=/usr/local/bin/it server\n",
        "/etc/systemd/system/multi-user.target.wants/{0}.service".format(unit): "",
    }
    (owner,) = found(tmp_path, starts)
    assert (owner.name, owner.keys, owner.at_boot) == (name, DEFAULTS, True)
    assert owner.evidence.startswith("{0}.service is enabled, /etc/rancher/{1}/config.yaml".format(unit, name))


def test_what_runs_is_not_told_of_twice(tmp_path):
    assert len(found(tmp_path, PROCESS, {"/etc/systemd/system/multi-user.target.wants/k3s.service": ""})) == 1
