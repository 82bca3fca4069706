# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Lines by words. tests/integration/test_commands_oracle.py asks real shells and the real sysctl the same."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.commands import assignments, commands
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.finder import owners

NF = kernel.FLAVOURS["nf_conntrack"]
MAX = "net.netfilter.nf_conntrack_max"
FILE = "/proc/sys/net/netfilter/nf_conntrack_max"
HASHSIZE = "/sys/module/nf_conntrack/parameters/hashsize"
SET = "sysctl -w net.netfilter.nf_conntrack_max=5"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        # sysctl's words.
        ("sysctl -w {0} = 5", 0),
        ("sysctl -w {0}= 5", 0),
        ("sysctl -w {0} =5", 0),
        ("sysctl -w {0} 5", 0),
        ("sysctl -w {0}", 0),
        ("sysctl -w {0}=", 0),
        ("sysctl -w {0}=many", 0),
        ("sysctl -w {0}=-1", 0),
        ("sysctl -w {0}=0x10", 16),
        # Of procps 4, but not of procps 3 and busybox.
        ("sysctl -w '{0} = 5'", None),
        ("sysctl -w '{0}= 5'", 5),
        ("sysctl -w '{0}=5 6'", 5),
        ('sysctl -w {0}="5"', 5),
        ("sysctl -w {0}=\\5", 5),
        ("sysctl -w {0}=${{N:-5}}", None),
        ("sysctl -w {0}=`nproc`", None),
        ("sysctl -w {0}=$((5 * (2 + 3)))", None),
        ("sysctl -w {0}='$N'", 0),
        ("sysctl -w vm.swappiness = 1 {0}=5", 5),
        ("sysctl {0}=5 -q", 5),
        ("sysctl -qw -- -{0}=5", 5),
        ("sysctl -w -- --{0}=5", 5),
        ("sysctl --wri {0}=5", 0),
        ("sysctl --system {0}=5", 5),
        ("sysctl -p {0}=5", 0),
        ("sysctl -a {0}=5", 0),
        ("sysctl -qp {0}=5", 0),
        ("sysctl --load={0}=5", 0),
        ("sysctl -{0}=5", 0),
        ("sysctl -r conntrack {0}=5", 5),
        ("sysctl -r ^vm {0}=5", 0),
        ("sysctl --pattern=^vm {0}=5", 0),
        ("sysctl -r '(c)' {0}=5", None),
        ("sysctl -w net.netfilter/nf_conntrack_max=5", 0),
        ("sysctl -w /proc/sys/net/netfilter/nf_conntrack_max=5", 0),
        # What runs it.
        ("sudo -n /sbin/sysctl -w {0}=5", 5),
        ("env A=b nice -n 5 timeout 5 sysctl -w {0}=5", 5),
        ("busybox sysctl -w {0}=5", 5),
        ("$SUDO ${{SYSCTL}} -w {0}=5", 5),
        ('"$SBIN"/sysctl -w {0}=5', 5),
        ("run_or_die sysctl -w {0}=5", 5),
        ("*/5 * * * * root sysctl -w {0}=5", 5),
        ("@reboot sleep 60 && sysctl -w {0}=5", 5),
        ("if ! sysctl -w {0}=5; then", 5),
        ("[ -e {1} ] && sysctl -w {0}=5 || true", 5),
        ("x=$(sysctl -w {0}=5)", 5),
        ("(sysctl -w {0}=5)", 5),
        ("(cd / && (sysctl -w {0}=5))", 5),
        ("start) sysctl -w {0}=5;;", 5),
        ("sysctl -w {0}=5 & wait", 5),
        ("sh -c 'sysctl -w {0}=5'", 5),
        ("bash -lc \"sudo sh -c 'sysctl -w {0}=5'\"", 5),
        ("su - root -c 'sysctl -w {0}=5'", 5),
        ('eval "sysctl -w {0}=5"', 5),
        ("sh script -w {0}=5", 0),
        ("sysctl -w {0}=5>/dev/null", 5),
        ("sysctl -w {0}=5#6", 0),
        ("sysctl -w {0}=5 #6", 5),
        ("echo 'sysctl -w {0}=5'", 0),
        ("logger -t x sysctl -w {0}=5", 0),
        ("grep 'sysctl -w {0}=5' /etc/rc.local", 0),
        ("crontab_line='sysctl -w {0}=5'", 0),
        # What runs it elsewhere.
        ("docker run --rm --sysctl {0}=5 image", 0),
        ("docker exec c sysctl -w {0}=5", 0),
        ("/usr/bin/podman run --rm --privileged image sysctl -w {0}=5", 0),
        ("ip netns exec a sysctl -w {0}=5", 0),
        ("sudo ip -all netns exec sysctl -w {0}=5", 0),
        ("nsenter -t 1 -n -- sysctl -w {0}=5", 0),
        ("unshare -n sh -c 'sysctl -w {0}=5'", 0),
        ("lxc-attach -n a -- sysctl -w {0}=5", 0),
        ("systemd-nspawn -D /a sysctl -w {0}=5", 0),
        ("chroot /a sysctl -w {0}=5", 0),
        ("ssh host sysctl -w {0}=5", 0),
        ("ip link set eth0 up; sysctl -w {0}=5", 5),
        ("flock /run/lock/docker sysctl -w {0}=5", 5),
        # Files.
        ("echo 5 >{1}", 5),
        ("echo 5 >> '{1}'", 5),
        ("> {1} echo 5", 5),
        ("echo 5 > {1} > /dev/null", 0),
        ("echo 5 2> {1}", 0),
        ("echo 5>{1}", 0),
        ("echo 65536>{1}", None),
        ("echo > {1}", 0),
        ("printf '%s\\n' 5 > {1}", 5),
        ("printf '5\\n' > {1}", 5),
        ("printf %dk 5 > {1}", None),
        ("echo 5 | sudo tee -a {1} >/dev/null", 5),
        ("tee {1} <<< 5", 5),
        ("tee {1} < five", None),
        ("sed s/a/b/ five | tee {1}", None),
        ("echo 5 | sed s/5/6/ > {1}", None),
        ("cat {1} | tee /tmp/x", 0),
        # The file is opened here, whatever runs there.
        ("ip netns exec a cat five > {1}", None),
        ("docker exec c echo 5 | tee {1}", None),
        # Units.
        ("ExecStart=-/usr/sbin/sysctl -w {0}=5", 5),
        ("ExecStartPost = +/usr/sbin/sysctl -w '{0} = 5'", None),
        ("ExecStart=@/usr/sbin/sysctl sysctl -w {0}=5", 5),
        ("ExecStart=!!/usr/sbin/sysctl -w {0} = 5", 0),
        ("ExecStart=/usr/sbin/sysctl -w {0}=5 && true", 5),
        ("ExecStart=/usr/sbin/sysctl -w {0}=5;", 0),
        ("ExecStart=/bin/true ; /usr/sbin/sysctl -w {0}=5", 5),
        ("ExecStart=/usr/sbin/sysctl -w {0}=${{N}}", None),
        ("ExecStart=/usr/sbin/sysctl -w {0}=%i", None),
        ("ExecStart=/bin/echo 5 > {1}", 0),
        ("ExecStart=/bin/sh -c 'echo 5 > {1}'", 5),
        ('ExecStart=/bin/bash -c "echo 5 | tee {1}"', 5),
        ("ExecStart=/usr/bin/docker run --sysctl {0}=5 image", 0),
        ("ExecStart=/usr/bin/nsenter -n /usr/sbin/sysctl -w {0}=5", 0),
        # Never closed, as over several lines.
        ("sh -c 'sysctl -w {0}=5", 5),
        ('sh -c "sysctl -w {0}=5', 5),
        ("x=$(sysctl -w {0}=5", 5),
        ("sysctl -w {0}=5 \\", 5),
        ("sysctl -w {0}=5)))", 5),
    ],
    ids=repr,
)
def test_words(line, value):
    """0 is for what sets nothing: what would, sets something else here."""
    found = assignments(line.format(MAX, FILE), NF)
    assert found == ({} if value == 0 else {MAX: value})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("modprobe nf_conntrack hashsize=5", 5),
        ("modprobe -v nf-conntrack acct=1 'hashsize=5'", 5),
        ("insmod /lib/modules/6.1/nf_conntrack.ko.xz hashsize=5", 5),
        ("modprobe nf_conntrack hashsize=$N", None),
        ("modprobe nf_conntrack hashsize = 5", 0),
        ("modprobe nf_conntrack hashsize=0", 0),
        ("modprobe other hashsize=5", 0),
        ("modprobe -r nf_conntrack hashsize=5", 0),
        ("modprobe -n nf_conntrack hashsize=5", 0),
        ("echo modprobe nf_conntrack hashsize=5", 0),
        ("chroot /a modprobe nf_conntrack hashsize=5", 0),
        ("sudo modprobe nf_conntrack hashsize=5 && true", 5),
        ("echo 5 > " + HASHSIZE, 5),
        ("echo 0 > " + HASHSIZE, 0),
        ("sysctl -w net.netfilter.nf_conntrack_buckets=5", 5),
        ("sysctl -w net.netfilter.nf_conntrack_buckets=0", 0),
    ],
    ids=repr,
)
def test_buckets(line, value):
    assert assignments(line, NF) == ({} if value == 0 else {"hashsize": value})


def test_several():
    line = "sysctl -w {0}_udp_timeout=1 {0}_icmp_timeout = 2 {0}_max=3; echo 4 > {1}".format(MAX[:-4], HASHSIZE)
    assert assignments(line, NF) == {MAX[:-3] + "udp_timeout": 1, MAX: 3, "hashsize": 4}


def test_the_last_counts():
    assert assignments("{0}; {0}6".format(SET), NF) == {MAX: 56}


@pytest.mark.parametrize(
    "filler", ["sh ", "sh -c '", "$(", "(", "`", "eval ", '"', "\\", ">", "|", ";", "5>", "tee ", "<<<", "-r "]
)
def test_any_line(filler):
    """Values or nothing, however deep."""
    assert list(commands(filler * 1000 + SET))
    assert assignments(filler * 1000, NF) == {}
    assignments(filler * 500 + SET, NF)
    assignments("ExecStart=" + filler * 500 + SET, NF)


def test_a_host_whose_script_sets_nothing(tmp_path):
    """As several public scripts have it: three words where sysctl wants one."""
    script = tmp_path / "etc/rc.local"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n/sbin/sysctl -w net.netfilter.nf_conntrack_max = 196608\nexit 0\n")
    os.chmod(str(script), 0o755)
    assert owners(Host(str(tmp_path)), NF, 4)[0] == []
