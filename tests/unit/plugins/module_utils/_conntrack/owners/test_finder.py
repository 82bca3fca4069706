# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Others who write the keys, on trees of hosts laid out for it."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.commands import (
    assignments,
    sysctl_key,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.finder import (
    MOST_PROCESSES,
    MOST_SCRIPTS,
    owners,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.kube_proxy import (
    conntrack_mapping,
    go_seconds,
)

NF = kernel.FLAVOURS["nf_conntrack"]
IP = kernel.FLAVOURS["ip_conntrack"]
MAX = "net.netfilter.nf_conntrack_max"
ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
CLOSE_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
HOURS = {ESTABLISHED: 86400, CLOSE_WAIT: 3600}


@pytest.fixture
def found(tmp_path):
    """The owners on a host with these files; one whose path ends in * is executable, one whose text begins with -> a link."""

    def found_(files, cpus=4, names=NF):
        for path, text in files.items():
            target = tmp_path / path.strip("/*")
            target.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("->"):
                target.symlink_to(text[2:])
                continue
            target.write_bytes(text.encode("utf-8", "surrogateescape"))
            os.chmod(str(target), 0o755 if path.endswith("*") else 0o644)
        return owners(Host(str(tmp_path)), names, cpus)[0]

    return found_


def the_keys(found):
    return [(owner.name, owner.keys, owner.at_boot) for owner in found]


def test_nobody(found):
    assert found({}) == []


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("net.netfilter.nf_conntrack_max", "max"),
        ("net/netfilter/nf_conntrack_max", "max"),
        ("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", "udp_timeout"),
        ("net.nf_conntrack_max", "max"),
        ("net.ipv4.ip_conntrack_max", "max"),
        ("net.ipv4.netfilter.ip_conntrack_tcp_timeout_established", "tcp_timeout_established"),
        ("net.nf_conntrack_udp_timeout", None),
        ("net.netfilter.ip_conntrack_max", None),
        ("net.netfilter.nf_log_all_netns", None),
        ("xnet.netfilter.nf_conntrack_max", None),
        ("net.netfilter.nf_conntrack_max ", None),
        ("", None),
    ],
    ids=repr,
)
def test_key(written, key):
    for names in (NF, IP):
        assert sysctl_key(written, names) == (key and names.prefix + key)


def test_key_of_buckets_is_the_modules_hashsize():
    assert sysctl_key("net.netfilter.nf_conntrack_buckets", NF) == "hashsize"


# kube-proxy


def proxy(*arguments, **more):
    tree = {
        "/proc/1/comm": "systemd\n",
        "/proc/4711/comm": "kube-proxy\n",
        "/proc/4711/cmdline": "\0".join(("/usr/local/bin/kube-proxy",) + arguments) + "\0",
    }
    tree.update(more)
    return tree


@pytest.mark.parametrize(
    ("arguments", "cpus", "keys"),
    [
        ([], 8, dict(HOURS, **{MAX: 262144, "hashsize": 65536})),
        ([], 2, dict(HOURS, **{MAX: 131072, "hashsize": 32768})),
        ([], 32, dict(HOURS, **{MAX: 1048576, "hashsize": 262144})),
        ([], 33, dict(HOURS, **{MAX: None, "hashsize": None})),
        ([], None, dict(HOURS, **{MAX: None, "hashsize": None})),
        (["--conntrack-max-per-core=65536"], 8, dict(HOURS, **{MAX: 524288, "hashsize": 131072})),
        (["--conntrack-max-per-core", "65536"], 8, dict(HOURS, **{MAX: 524288, "hashsize": 131072})),
        (["--conntrack_min=500000"], 8, dict(HOURS, **{MAX: 500000, "hashsize": 125000})),
        (["--conntrack-max-per-core=0", "--conntrack-min=500000"], 8, HOURS),
        (
            ["--conntrack-max=200000", "--conntrack-max-per-core=0"],
            8,
            dict(HOURS, **{MAX: 200000, "hashsize": 50000}),
        ),
        (
            [
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=1m30s",
                "--conntrack-tcp-be-liberal",
                "--conntrack-udp-timeout=10s",
                "--conntrack-udp-timeout-stream=2m",
            ],
            8,
            {
                CLOSE_WAIT: 90,
                NF.prefix + "tcp_be_liberal": 1,
                NF.prefix + "udp_timeout": 10,
                NF.prefix + "udp_timeout_stream": 120,
            },
        ),
        (
            ["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=soon"],
            8,
            {ESTABLISHED: None, CLOSE_WAIT: 3600},
        ),
    ],
)
def test_arguments_of_kube_proxy(found, arguments, cpus, keys):
    (owner,) = found(proxy(*arguments), cpus)
    assert (owner.name, owner.keys, owner.at_boot) == ("kube-proxy", keys, True)
    assert (owner.path, owner.line, owner.text) == (None, None, None)


def test_evidence_of_kube_proxy(found):
    (owner,) = found(proxy("--v=2", "--conntrack-max-per-core=65536"), 8)
    assert owner.evidence == "process 4711: kube-proxy --conntrack-max-per-core=65536 (8 cpus)"


def test_evidence_where_the_version_decides(found):
    (owner,) = found(proxy(), 64)
    assert owner.evidence == "process 4711: kube-proxy (64 cpus, at most 1048576 since Kubernetes 1.36)"


def test_kube_proxy_that_sets_nothing(found):
    zeros = ["max-per-core", "tcp-timeout-established", "tcp-timeout-close-wait"]
    assert found(proxy(*["--conntrack-{}=0".format(name) for name in zeros])) == []


CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
conntrack:
  max: 0
  maxPerCore: 65536  # more
# nothing
  min: null
  tcpCloseWaitTimeout: 0s
  tcpEstablishedTimeout: "2h0m0s"
iptables:
  min: 1
"""


@pytest.mark.parametrize(
    ("named", "path"),
    [("/var/lib/config.conf", "/proc/4711/root/var/lib/config.conf"), ("config.conf", "/proc/4711/cwd/config.conf")],
)
def test_configuration_of_kube_proxy(found, named, path):
    (owner,) = found(proxy("--config=" + named, "--conntrack-max-per-core=1", **{path: CONFIG}), 8)
    assert owner.keys == {MAX: 524288, "hashsize": 131072, ESTABLISHED: 7200}
    assert owner.evidence.startswith("process 4711: kube-proxy --config=" + named + " max=0 maxPerCore=65536 tcp")


def test_configuration_that_cannot_be_read(found):
    (owner,) = found(proxy("--config=/gone"), 8)
    assert owner.keys == {MAX: None, "hashsize": None, ESTABLISHED: None, CLOSE_WAIT: None}
    assert owner.evidence.endswith("--config=/gone, which cannot be read")


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("conntrack: {maxPerCore: 0, min: 5}\nmode: ipvs\n", {"maxPerCore": "0", "min": "5"}),
        ("linux:\n  conntrack:\n    min: 5\n  oomScoreAdj: 1\n", {"min": "5"}),
        ("conntrack:\n\tmin: 5\n", {"min": "5"}),
        ("conntrack: null\nmin: 5\n", {}),
        ("conntrack:\nmin: 5\n", {}),
        ("kind: KubeProxyConfiguration\n", {}),
        ("\0\u00ff: {{{{\nconntrack: }}}", {}),
        ("", {}),
    ],
    ids=repr,
)
def test_mapping(text, mapping):
    assert conntrack_mapping(text) == mapping


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h0m0s", 86400),
        ("1h", 3600),
        ("1.5h", 5400),
        ("90s", 90),
        ("1500ms", 1.5),
        ("2\u00b5s", 0.000002),
        ("0", 0),
        ("0s", 0),
        ("90", None),
        ("1d", None),
        ("h", None),
        ("-1h", None),
        ("1h ago", None),
        ("", None),
        ("9" * 200 + "h", None),
    ],
    ids=repr,
)
def test_duration(text, seconds):
    assert go_seconds(text) == seconds


@pytest.mark.parametrize(("buckets", "written"), [("65537", False), ("65536", True), ("16384", True), ("", True)])
def test_kube_proxy_only_raises_the_buckets(found, buckets, written):
    (owner,) = found(proxy(**{"/sys/module/nf_conntrack/parameters/hashsize": buckets}), 8)
    assert ("hashsize" in owner.keys) is written


@pytest.mark.parametrize(("namespace", "number"), [("net:[1]", 1), ("net:[2]", 0)])
def test_kube_proxy_of_another_network_namespace(found, namespace, number):
    links = {"/proc/self/ns/net": "->net:[1]", "/proc/4711/ns/net": "->" + namespace}
    assert len(found(dict(proxy(), **links))) == number


def test_processes_are_bounded(tmp_path):
    class Crowded(Host):
        asked = 0

        def by_user(self):
            return list(range(2, 3 * MOST_PROCESSES)), []

        def read(self, path):
            # The first is asked for its name besides, where the init is not seen.
            self.asked += path.endswith("/comm") and path != "/proc/1/comm"

    host = Crowded(str(tmp_path))
    assert owners(host, NF, 4) == ([], [])
    assert host.asked == MOST_PROCESSES


def test_microk8s(found):
    arguments = "/var/snap/microk8s/current/args/kube-proxy"
    tree = {"/proc/4711/comm": "kubelite\n", arguments: "--kubeconfig=x\n--conntrack-max-per-core=0\n"}
    (owner,) = found(tree)
    assert (owner.name, owner.keys) == ("microk8s", HOURS)
    assert arguments in owner.remedy


def test_microk8s_without_its_arguments(found):
    (owner,) = found({"/proc/4711/comm": "kubelite\n"})
    assert set(owner.keys.values()) == {None}


@pytest.mark.parametrize(
    ("arguments", "number"),
    [("/hyperkube\0proxy\0", 1), ("/hyperkube\0kube-proxy\0--v=1\0", 1), ("/hyperkube\0kubelet\0", 0), ("", 0)],
)
def test_hyperkube(found, arguments, number):
    owners_ = found({"/proc/4711/comm": "hyperkube\n", "/proc/4711/cmdline": arguments}, 8)
    assert the_keys(owners_) == [("kube-proxy", dict(HOURS, **{MAX: 262144, "hashsize": 65536}), True)] * number


# tuned

TUNED = "/etc/systemd/system/multi-user.target.wants/tuned.service"


def tuned(profile, **more):
    tree = {TUNED: "", "/etc/tuned/active_profile": "mine\n", "/etc/tuned/mine/tuned.conf": profile}
    tree.update(more)
    return tree


@pytest.mark.parametrize(
    ("profile", "keys"),
    [
        ("[sysctl]\nnet.netfilter.nf_conntrack_max=1048576\n", {MAX: 1048576}),
        ("[sysctl]\nnet.netfilter.nf_conntrack_max = >1048576 # at least\n", {MAX: 1048576}),
        ('[sysctl]\nnet.nf_conntrack_max="1048576"\n', {MAX: 1048576}),
        ("[sysctl]\nnet.netfilter.nf_conntrack_max=${limit}\n", {MAX: None}),
        ("[sysctl]\n net.netfilter.nf_conntrack_max=5\n", {MAX: 5}),
        ("[sysctl]\nnet.netfilter.nf_conntrack_max=5\n\n  6\n", {MAX: None}),
        ("[mine]\ntype=sysctl\nnet.netfilter.nf_conntrack_max=5\n", {MAX: 5}),
        ("[net]\nnf_conntrack_hashsize=262144\n", {"hashsize": 262144}),
        ("[sysfs]\n/sys/module/nf_conntrack/parameters/hashsize=262144\n", {"hashsize": 262144}),
        ("[modules]\nnf_conntrack=+r hashsize=262144 acct=1\n", {"hashsize": 262144}),
    ],
    ids=repr,
)
def test_tuned(found, profile, keys):
    (owner,) = found(tuned(profile))
    assert (owner.name, owner.keys, owner.at_boot) == ("tuned", keys, True)
    line = profile.split("\n")[owner.line - 1]
    assert (owner.path, owner.text) == ("/etc/tuned/mine/tuned.conf", line)
    assert owner.evidence == "/etc/tuned/mine/tuned.conf:{}: {}".format(owner.line, line.strip())


@pytest.mark.parametrize(
    ("said", "there", "keys"),
    [
        (">1048576", 8192, {MAX: 1048576}),
        (">1048576", 1048576, {MAX: 1048576}),
        (">1048576", 2097152, {}),
        (">1048576", None, {MAX: 1048576}),
        ("<1048576", 2097152, {MAX: 1048576}),
        ("<1048576", 8192, {}),
        ("=1048576", 8192, {MAX: None}),
        (">${limit}", 8192, {MAX: None}),
    ],
)
def test_tuned_leaves_alone_what_is_as_it_is_to_be_at_least_or_at_most(found, said, there, keys):
    tree = tuned("[sysctl]\nnet.netfilter.nf_conntrack_max = {0}\n".format(said))
    if there is not None:
        tree["/proc/sys/net/netfilter/nf_conntrack_max"] = "{0}\n".format(there)
    owners = found(tree)
    assert [owner.keys for owner in owners] == ([keys] if keys else [])


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        ("[net]\nnf_conntrack_hashsize=>4096\n", {}),
        ("[net]\nnf_conntrack_hashsize=>16384\n", {"hashsize": 16384}),
        # Written as it stands, which the kernel does not take.
        ("[sysfs]\n/sys/module/nf_conntrack/parameters/hashsize=>16384\n", {"hashsize": None}),
    ],
    ids=repr,
)
def test_tuned_and_buckets_that_are_there(found, said, keys):
    owners = found(tuned(said, **{"/sys/module/nf_conntrack/parameters/hashsize": "8192\n"}))
    assert [owner.keys for owner in owners] == ([keys] if keys else [])


@pytest.mark.parametrize(
    "profile",
    [
        "[sysctl]\n#net.netfilter.nf_conntrack_max=5\n;net.netfilter.nf_conntrack_max=5\n",
        "[sysctl]\nenabled=false\nnet.netfilter.nf_conntrack_max=5\n",
        "[sysctl]\nvm.swappiness=1\n\n net.netfilter.nf_conntrack_max=5\n",
        "[vm]\nnet.netfilter.nf_conntrack_max=5\n",
        "net.netfilter.nf_conntrack_max=5\n",
        "[modules]\nnf_conntrack=acct=1\n",
        "[\n]\n=\0\udcff=[sysctl\n",
    ],
    ids=repr,
)
def test_tuned_that_sets_none(found, profile):
    assert found(tuned(profile)) == []


def test_options_of_a_module_wait_for_its_load(found):
    (owner,) = found(tuned("[modules]\nnf_conntrack=hashsize=5\n"))
    assert (owner.keys, owner.at_boot) == ({"hashsize": 5}, False)


def test_tuned_that_neither_runs_nor_is_enabled(found):
    tree = tuned("[sysctl]\nnet.netfilter.nf_conntrack_max=5\n")
    del tree[TUNED]
    assert found(tree) == []
    assert len(found({"/run/systemd/units/invocation:tuned.service": ""})) == 1


SYSCTL = "[sysctl]\n{}\nnet.netfilter.nf_conntrack_max={}\n"


def test_a_profile_laid_over_the_one_of_its_own_name(found):
    tree = tuned("[main]\ninclude=mine\n", **{"/usr/lib/tuned/mine/tuned.conf": SYSCTL.format("", 1)})
    assert [(owner.path, owner.keys) for owner in found(tree)] == [("/usr/lib/tuned/mine/tuned.conf", {MAX: 1})]


def test_profiles_that_include_others(found):
    tree = tuned(
        "[main]\ninclude=one, ${i:OTHER}\n[sysctl]\nnet.netfilter.nf_conntrack_udp_timeout=3\n",
        **{
            "/usr/lib/tuned/one/tuned.conf": "[main]\ninclude=two;-missing\n" + SYSCTL.format("", 1),
            "/usr/lib/tuned/profiles/two/tuned.conf": SYSCTL.format("", 2),
            "/etc/tuned/profiles/two/tuned.conf": "[main]\ninclude=mine\n"
            + SYSCTL.format("net.netfilter.nf_conntrack_icmp_timeout=9", 3),
        },
    )
    keys = [owner.keys for owner in found(tree)]
    assert sorted(keys, key=str) == [
        {NF.prefix + "icmp_timeout": 9},
        {MAX: 1},
        {NF.prefix + "udp_timeout": 3},
    ]


# As OpenShift's nodes have it.
OPENSHIFT = {
    "/proc/88/comm": "tuned\n",
    "/proc/88/root/etc/tuned/active_profile": "openshift-node\n",
    "/proc/88/root/etc/tuned/tuned-main.conf": "reapply_sysctl = 1\n",
    "/proc/88/root/usr/lib/tuned/openshift-node/tuned.conf": "[main]\ninclude=openshift\n",
    "/proc/88/root/usr/lib/tuned/openshift/tuned.conf": "[main]\ninclude=${f:virt_check:virtual-guest:network-throughput}\n"
    "[net]\nnf_conntrack_hashsize=1048576\n[sysctl]\nnet.netfilter.nf_conntrack_max=1048576\n",
    "/var/lib/ocp-tuned/profiles/openshift/tuned.conf": "[main]\n"
    "include=-provider-${f:exec:cat:/var/lib/ocp-tuned/provider},openshift\n",
}


def test_tuned_in_a_container(found):
    owners_ = found(OPENSHIFT)
    assert the_keys(owners_) == [("tuned", {"hashsize": 1048576}, True), ("tuned", {MAX: 1048576}, True)]
    assert all(owner.path is None and "Tuned resource" in owner.remedy for owner in owners_)
    assert owners_[1].evidence.startswith("/proc/88/root/usr/lib/tuned/openshift/tuned.conf:6: ")


def test_tuned_that_no_unit_starts(found):
    tree = tuned("[sysctl]\n{0}=1\n".format(MAX), **{"/proc/88/comm": "tuned\n"})
    del tree[TUNED]
    (owner,) = found(tree)
    assert (owner.keys, owner.path) == ({MAX: 1}, "/etc/tuned/mine/tuned.conf")


def test_tuned_in_a_container_applies_the_hosts_own_again(found):
    owners_ = found(dict(OPENSHIFT, **{"/etc/sysctl.d/a.conf": MAX + " = 1\n"}))
    assert [owner.at_boot for owner in owners_] == [True, False]


def test_a_process_of_the_hosts_own_tuned_says_nothing_more(found):
    assert len(found(tuned("[sysctl]\n{0}=1\n".format(MAX), **OPENSHIFT))) == 1


def test_more_profiles_than_are_read(found):
    """What they leave of the table is then not known, whatever the first of them say."""
    includes = ",".join("p{0}".format(number) for number in range(500))
    first, owner = found(tuned("[main]\ninclude={0}\n{1}".format(includes, SYSCTL.format("", 1))))
    assert first.keys == {MAX: 1}
    assert (owner.name, owner.keys, owner.at_boot) == ("tuned", {MAX: None, "hashsize": None}, True)
    assert "more profiles than are read" in owner.evidence


@pytest.mark.parametrize("blanks", [" ", "\t", " " * 50000])
def test_blanks_around_the_names_of_profiles(found, blanks):
    tree = tuned("[main]\ninclude=a{0},{0}b\n".format(blanks), **{"/etc/tuned/b/tuned.conf": SYSCTL.format("", 2)})
    assert [owner.keys for owner in found(tree)] == [{MAX: 2}]


@pytest.mark.parametrize(
    ("second", "keys"),
    [
        ("[sysctl]\nnet.netfilter.nf_conntrack_udp_timeout=3\n", [{MAX: 5}, {NF.prefix + "udp_timeout": 3}]),
        ("[sysctl]\nreplace=1\nnet.netfilter.nf_conntrack_udp_timeout=3\n", [{NF.prefix + "udp_timeout": 3}]),
        ("[sysctl]\ndrop=net.netfilter.nf_conntrack_max\n", []),
        ("[sysctl]\nenabled=0\n", []),
        ("[sysctl]\ntype=vm\n", []),
    ],
    ids=repr,
)
def test_several_active_profiles(found, second, keys):
    tree = tuned("[sysctl]\nnet.netfilter.nf_conntrack_max=5\n", **{"/etc/tuned/second/tuned.conf": second})
    tree["/etc/tuned/active_profile"] = "mine second\n"
    assert [owner.keys for owner in found(tree)] == keys


@pytest.mark.parametrize(
    ("files", "at_boot"),
    [
        ({"/etc/sysctl.d/99-conntrack.conf": "net.netfilter.nf_conntrack_max = 7\n"}, False),
        ({"/run/sysctl.d/a.conf": "net/netfilter/nf_conntrack_max=7\n"}, False),
        ({"/etc/sysctl.conf": "net.nf_conntrack_max=7\n"}, False),
        ({"/etc/sysctl.d/a.conf": "net.netfilter.nf_conntrack_max=7\n", "/run/sysctl.d/a.conf": ""}, True),
        ({"/etc/sysctl.d/a.conf": "-net.netfilter.nf_conntrack_max=7\n"}, True),
        ({"/etc/sysctl.d/a.conf": "#net.netfilter.nf_conntrack_max=7\n"}, True),
        ({"/etc/sysctl.d/a": "net.netfilter.nf_conntrack_max=7\n"}, True),
        ({"/usr/lib/sysctl.d/a.conf": "net.netfilter.nf_conntrack_max=7\n"}, True),
        (
            {
                "/etc/sysctl.conf": "net.netfilter.nf_conntrack_max=7\n",
                "/etc/tuned/tuned-main.conf": "reapply_sysctl = 0\n",
            },
            True,
        ),
    ],
    ids=repr,
)
def test_tuned_applies_the_systems_own_again(found, files, at_boot):
    (owner,) = found(tuned("[sysctl]\nnet.netfilter.nf_conntrack_max=5\n", **files))
    assert owner.at_boot is at_boot


# ufw and iptables-services

UFW = {
    "/etc/ufw/ufw.conf": "ENABLED=yes\n",
    "/etc/default/ufw": "IPT_SYSCTL=/etc/ufw/sysctl.conf\n",
    "/etc/ufw/sysctl.conf": "#net/netfilter/nf_conntrack_max=1\nnet/netfilter/nf_conntrack_max=65536\nnet/ipv4/tcp_sack=1",
}


def test_ufw(found):
    (owner,) = found(UFW)
    assert (owner.name, owner.keys, owner.at_boot) == ("ufw", {MAX: 65536}, True)
    assert (owner.path, owner.line, owner.text) == ("/etc/ufw/sysctl.conf", 2, "net/netfilter/nf_conntrack_max=65536")


@pytest.mark.parametrize(
    ("path", "text", "number"),
    [
        ("/etc/ufw/ufw.conf", "ENABLED=no\n", 0),
        ("/etc/default/ufw", "IPT_SYSCTL=\n", 0),
        ("/etc/default/ufw", "IPT_SYSCTL=/etc/other\n", 0),
    ],
)
def test_ufw_that_applies_nothing(found, path, text, number):
    assert len(found(dict(UFW, **{path: text}))) == number


IPTABLES = {
    "/var/lock/subsys/iptables": "",
    "/etc/sysconfig/iptables-config": 'IPTABLES_SYSCTL_LOAD_LIST=".nf_conntrack .bridge-nf"\n',
    "/etc/sysctl.conf": "net.netfilter.nf_conntrack_max = 1\nnet.ipv4.netfilter.ip_conntrack_max = 2\n",
    "/etc/sysctl.d/99-conntrack.conf": "net.netfilter.nf_conntrack_max = 3\n",
    "/etc/sysctl.d/a.conf": "net.netfilter.nf_conntrack_max = 4\n",
}


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        ({}, [("/etc/sysctl.conf", {MAX: 1})]),
        (
            {"/usr/libexec/iptables/iptables.init": "fgrep -hs $item /etc/sysctl.d/* | sysctl -p -\n"},
            [("/etc/sysctl.d/a.conf", {MAX: 4})],
        ),
        ({"/etc/sysconfig/iptables-config": 'IPTABLES_SYSCTL_LOAD_LIST=""\n'}, []),
        ({"/etc/sysconfig/iptables-config": 'IPTABLES_SYSCTL_LOAD_LIST="bridge"\n'}, []),
    ],
    ids=repr,
)
def test_iptables(found, files, keys):
    owners_ = found(dict(IPTABLES, **files))
    assert [(owner.path, owner.keys) for owner in owners_] == keys
    assert all(owner.name == "iptables" and owner.at_boot for owner in owners_)


def test_iptables_that_is_not_there(found):
    tree = dict(IPTABLES)
    del tree["/var/lock/subsys/iptables"]
    assert found(tree) == []


# Scripts, cron and units

SET = "sysctl -w net.netfilter.nf_conntrack_max=262144\n"


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("sysctl -w net.netfilter.nf_conntrack_max=262144", {MAX: 262144}),
        ("  /sbin/sysctl -q net.nf_conntrack_max=262144 >/dev/null 2>&1", {MAX: 262144}),
        ('sysctl -w "net.netfilter.nf_conntrack_max = 262144"', {MAX: None}),
        ('sysctl -w "net.netfilter.nf_conntrack_max= 262144"', {MAX: 262144}),
        ("sysctl -w net.netfilter.nf_conntrack_max=$N", {MAX: None}),
        ("ExecStart=-/usr/sbin/sysctl net/netfilter/nf_conntrack_max=5", {MAX: 5}),
        (
            "x && sysctl -w net.netfilter.nf_conntrack_max=1 vm.swappiness=1 net.netfilter.nf_conntrack_acct=0",
            {MAX: 1, NF.prefix + "acct": 0},
        ),
        ("sysctl -w net.netfilter.nf_conntrack_buckets=65536", {"hashsize": 65536}),
        ("echo 262144 > /proc/sys/net/netfilter/nf_conntrack_max", {MAX: 262144}),
        ("echo -n '262144' >/proc/sys/net/nf_conntrack_max", {MAX: 262144}),
        (
            '/bin/sh -c "echo 600 >/proc/sys/net/ipv4/netfilter/ip_conntrack_tcp_timeout_established"',
            {ESTABLISHED: 600},
        ),
        ("echo 65536 | sudo tee /sys/module/nf_conntrack/parameters/hashsize", {"hashsize": 65536}),
        ("echo $((N / 4)) > /sys/module/nf_conntrack/parameters/hashsize", {"hashsize": None}),
        ("cat /etc/limit > /proc/sys/net/netfilter/nf_conntrack_max", {MAX: None}),
        ("modprobe nf_conntrack hashsize=65536", {"hashsize": 65536}),
        ("# sysctl -w net.netfilter.nf_conntrack_max=262144", {}),
        ("true # sysctl -w net.netfilter.nf_conntrack_max=262144", {}),
        ("sysctl net.netfilter.nf_conntrack_max", {}),
        ("sysctl -n net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max", {}),
        ("cat /proc/sys/net/netfilter/nf_conntrack_max > /tmp/max", {}),
        ("echo net.netfilter.nf_conntrack_max=1 >> /etc/sysctl.conf", {}),
        ("echo sysctl -w net.netfilter.nf_conntrack_max=1", {}),
        ("NF=net.netfilter.nf_conntrack_max=1", {}),
        ("modprobe nf_conntrack", {}),
        ("modprobe other hashsize=5", {}),
    ],
    ids=repr,
)
def test_assignments(line, keys):
    assert assignments(line, NF) == keys


@pytest.mark.parametrize("filler", ["true; ", " " * 6], ids=repr)
def test_of_a_line_that_is_too_long_it_is_told_which_keys_it_names(filler):
    command = "sysctl -w net.netfilter.nf_conntrack_max=1; modprobe nf_conntrack hashsize=5"
    assert assignments(command + filler * 1000, NF) == {MAX: None, "hashsize": None}
    assert assignments(filler * 1000 + command, NF) == {MAX: None, "hashsize": None}
    assert assignments("true #" + filler * 1000 + command, NF) == {}
    assert assignments(filler * 1000, NF) == {}


@pytest.mark.parametrize(
    ("path", "name", "at_boot"),
    [
        ("/etc/rc.local*", "rc.local", True),
        ("/etc/rc.d/rc.local*", "rc.local", True),
        ("/etc/NetworkManager/dispatcher.d/10-x*", "NetworkManager", True),
        ("/etc/NetworkManager/dispatcher.d/pre-up.d/10-x*", "NetworkManager", True),
        ("/etc/networkd-dispatcher/routable.d/x*", "networkd-dispatcher", True),
        ("/etc/networkd-dispatcher/off.d/x*", "networkd-dispatcher", False),
        ("/etc/network/if-up.d/x*", "ifupdown", True),
        ("/etc/network/if-down.d/x*", "ifupdown", False),
        ("/etc/cron.daily/x*", "cron", True),
        ("/etc/cron.d/x", "cron", True),
        ("/etc/crontab", "cron", True),
        ("/var/spool/cron/root", "cron", True),
        ("/var/spool/cron/crontabs/root", "cron", True),
    ],
)
def test_scripts(found, path, name, at_boot):
    (owner,) = found({path: "#!/bin/sh\n" + SET})
    assert (owner.name, owner.keys, owner.at_boot) == (name, {MAX: 262144}, at_boot)
    assert (owner.path, owner.line, owner.text) == (path.strip("*"), 2, SET.strip())


HASHSIZE_FILE = "/sys/module/nf_conntrack/parameters/hashsize"
MAX_FILE = "/proc/sys/net/netfilter/nf_conntrack_max"


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("w {} - - - - 65536".format(HASHSIZE_FILE), {"hashsize": 65536}),
        ("w! {} 0644 root root - 65536".format(HASHSIZE_FILE), {"hashsize": 65536}),
        ('w+ "{}" - - - - 65536 '.format(HASHSIZE_FILE), {"hashsize": 65536}),
        ('w {} - - - - "65536"'.format(HASHSIZE_FILE), None),
        ("w~ {} - - - - NjU1MzY=".format(HASHSIZE_FILE), {"hashsize": None}),
        ("w-\t{}\t-\t-\t-\t-\t262144".format(MAX_FILE), {MAX: 262144}),
        ("w {} - - - - %m".format(MAX_FILE), {MAX: None}),
        ("f {} - - - - 65536".format(HASHSIZE_FILE), None),
        ("# w {} - - - - 65536".format(HASHSIZE_FILE), None),
        ("w {} - - - -".format(HASHSIZE_FILE), None),
        ("w /tmp/nf_conntrack - - - - 65536", None),
    ],
)
def test_what_tmpfiles_write(found, line, keys):
    owners_ = found({"/etc/tmpfiles.d/conntrack.conf": "# of old\n" + line + "\n"})
    assert the_keys(owners_) == ([("systemd-tmpfiles", keys, True)] if keys else [])
    assert [(owner.line, owner.text) for owner in owners_] == ([(2, line)] if keys else [])


def test_of_tmpfiles_of_one_name_the_first_counts(found):
    line = "w {} - - - - {}\n"
    there = {
        "/usr/local/lib/tmpfiles.d/a.conf": line.format(MAX_FILE, 1),
        "/run/tmpfiles.d/a.conf": line.format(MAX_FILE, 2),
        "/run/tmpfiles.d/b.conf": line.format(MAX_FILE, 3),
        "/etc/tmpfiles.d/b.conf": "->/dev/null",
        "/etc/tmpfiles.d/c.txt": line.format(MAX_FILE, 4),
    }
    assert the_keys(found(there)) == [("systemd-tmpfiles", {MAX: 2}, True)]


ENABLED = {
    "/etc/systemd/system/multi-user.target.wants/{}.service".format(name): "->/none"
    for name in ("shorewall", "shorewall6", "netfilter-persistent", "foomuuri")
}


@pytest.mark.parametrize(
    ("path", "name", "at_start"),
    [
        ("/etc/ufw/before.init*", "ufw", True),
        ("/etc/ufw/after.init*", "ufw", True),
        ("/etc/shorewall/started", "shorewall", True),
        ("/etc/shorewall6/init", "shorewall6", True),
        ("/etc/shorewall/stopped", "shorewall", False),
        ("/usr/share/netfilter-persistent/plugins.d/30-own*", "netfilter-persistent", True),
        ("/etc/foomuuri/own.conf", "foomuuri", True),
    ],
)
@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
def test_what_firewalls_run(found, path, name, at_start, is_on):
    text = ("hook {\n  post_start " if name == "foomuuri" else "#!/bin/sh\n") + SET
    there = dict(ENABLED, **{"/etc/ufw/ufw.conf": "ENABLED=yes\n"}) if is_on else {}
    (owner,) = found(dict(there, **{path: text}))
    assert (owner.name, owner.keys, owner.at_boot, owner.line) == (name, {MAX: 262144}, at_start and is_on, 2)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ufw/before.init",
        "/etc/shorewall/rules",
        "/etc/shorewall/started~",
        "/usr/share/netfilter-persistent/plugins.d/30-own",
        "/etc/foomuuri/own.conf",
        "/etc/foomuuri/own*",
    ],
)
def test_what_firewalls_do_not_run(found, path):
    assert found(dict(ENABLED, **{path: "#!/bin/sh\n" + SET})) == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/rc.local",
        "/etc/NetworkManager/dispatcher.d/10-x",
        "/etc/network/if-up.d/x",
        "/etc/network/if-up.d/x.dpkg-old*",
        "/etc/cron.daily/x",
        "/etc/cron.d/x~",
        "/etc/systemd/system/x.timer",
    ],
)
def test_scripts_that_nobody_runs(found, path):
    assert found({path: SET}) == []


def test_rc_local_that_is_a_link_counts_once(found):
    assert len(found({"/etc/rc.d/rc.local*": SET, "/etc/rc.local": "->rc.d/rc.local"})) == 1


@pytest.mark.parametrize("enabled", [True, False])
def test_unit(found, enabled):
    tree = {"/etc/systemd/system/x.service": "[Service]\nEnvironment=A=" + SET + "ExecStart=/sbin/" + SET}
    if enabled:
        tree["/etc/systemd/system/multi-user.target.wants/x.service"] = "->../x.service"
    (owner,) = found(tree)
    assert (owner.name, owner.line, owner.at_boot) == ("systemd", 3, enabled)


@pytest.mark.parametrize("path", ["/etc/network/interfaces", "/etc/network/interfaces.d/eth0"])
@pytest.mark.parametrize(("verb", "number"), [("post-up", 1), ("up", 1), ("pre-up", 1), ("down", 0), ("#up", 0)])
def test_interfaces(found, path, verb, number):
    assert (
        the_keys(found({path: "iface eth0 inet dhcp\n  {} {}".format(verb, SET)}))
        == [("ifupdown", {MAX: 262144}, True)] * number
    )


def test_numbers_of_lines_are_an_editors(found):
    (owner,) = found({"/etc/crontab": "\f\v\u2028\x85\r\n@reboot root " + SET})
    assert owner.line == 2


def test_scripts_are_bounded(found):
    assert len(found({"/etc/cron.d/x{:03}".format(number): SET for number in range(MOST_SCRIPTS + 9)})) < MOST_SCRIPTS


def test_names_of_an_old_kernel(found):
    (owner,) = found({"/etc/rc.d/rc.local*": SET}, names=IP)
    assert owner.keys == {"net.ipv4.netfilter.ip_conntrack_max": 262144}


def test_each_says_what_to_do(found):
    every = dict(proxy(), **tuned("[sysctl]\nnet.netfilter.nf_conntrack_max=1\n"))
    every.update(UFW, **IPTABLES)
    every["/etc/rc.local*"] = SET
    owners_ = found(every)
    assert [owner.name for owner in owners_] == ["kube-proxy", "tuned", "ufw", "iptables", "rc.local"]
    assert all(owner.remedy and owner.evidence for owner in owners_)
