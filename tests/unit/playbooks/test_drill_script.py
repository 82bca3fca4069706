# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""playbooks/files/drill.sh on a machine of files: what it does in which order, and that the firewall is up at the end.

The script is run by sh as it is, but for the paths of /proc, /sys and /run; the commands that it calls are stand-ins
which log their words.
"""

import os
import subprocess
import time

import pytest

pytestmark = pytest.mark.on_one_python

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SCRIPT = os.path.join(HOME, "playbooks", "files", "drill.sh")
# Names, uses and users as Debian 12 with firewalld has them once firewalld has stopped; others are not of the stack.
MODULES = """\
nft_ct 24576 0 - Live 0x0
nft_chain_nat 16384 0 - Live 0x0
nf_nat 57344 1 nft_chain_nat, Live 0x0
nf_tables 303104 3 nft_ct,nft_chain_nat, Live 0x0
nf_conntrack 188416 2 nft_ct,nf_nat, Live 0x0
nf_defrag_ipv4 16384 1 nf_conntrack, Live 0x0
"""
COMMANDS = {
    "systemd-run": """
        while [ "$1" != /bin/sh ]; do shift; done
        "$@"
    """,
    "systemctl": """
        case $1 in
            is-active) [ "$2" != --quiet ] || shift; [ -e "HERE/up/$2" ]; exit ;;
            is-system-running) echo degraded; exit 1 ;;
            show) echo "ConsistsOf=fail2ban.service idle.service"; exit ;;
            reset-failed) exit ;;
        esac
        echo "$@" >>HERE/log
        verb=$1; shift
        for unit in "$@"; do
            case $verb in
                stop) rm -f "HERE/up/$unit" ;;
                start) [ -e "HERE/broken/$unit" ] || touch "HERE/up/$unit" ;;
                restart) rm -f "HERE/up/$unit"; [ -e "HERE/broken/$unit" ] || touch "HERE/up/$unit" ;;
            esac
        done
    """,
    "service": """
        [ "$2" != status ] || { [ -e "HERE/up/$1.service" ]; exit; }
        echo "service $@" >>HERE/log
    """,
    "firewall-cmd": """
        [ -e HERE/up/firewalld.service ]
    """,
    "modprobe": """
        echo "modprobe $@" >>HERE/log
        case $1 in
            -r)
                ! [ -e "HERE/stuck/$2" ] || { echo "modprobe: FATAL: Module $2 is in use."; exit 1; }
                grep -q "^$2 [0-9]* 0 " HERE/modules || { echo "modprobe: FATAL: Module $2 is in use by others."; exit 1; }
                rmdir "HERE/module/$2"
                sed -i "/^$2 /d" HERE/modules
                for name in nf_nat nf_conntrack nf_tables; do
                    if grep -q "^$name .*[ ,]$2," HERE/modules; then
                        uses=$(($(sed -n "s/^$name [0-9]* \\([0-9]*\\) .*/\\1/p" HERE/modules) - 1))
                        sed -i "s/^\\($name [0-9]*\\) [0-9]* /\\1 $uses /; /^$name /s/$2,//; /^$name /s/  / - /" HERE/modules
                    fi
                done
                ;;
            *)
                ! [ -e "HERE/stuck/load" ] || { echo "modprobe: FATAL: bad line in modprobe.d"; exit 1; }
                ;;
        esac
    """,
    "udevadm": """
        echo "udevadm $@" >>HERE/log
    """,
    "sleep": """
        exit 0
    """,
}


class Machine:
    def __init__(self, home):
        self.home = home
        for name in ("up", "broken", "stuck", "module", "bin", "run/systemd/system"):
            (home / name).mkdir(parents=True)
        self.modules(MODULES)
        for name, text in COMMANDS.items():
            command = home / "bin" / name
            command.write_text("#!/bin/sh\n" + text.replace("HERE", str(home)))
            command.chmod(0o755)
        with open(SCRIPT, encoding="utf-8") as source:
            text = source.read()
        for path, to in (("/proc/modules", "modules"), ("/sys/module/", "module/"), ("/run/", "run/")):
            assert path in text
            text = text.replace(path, str(home / to) + ("/" if path.endswith("/") else ""))
        (home / "drill.sh").write_text(text)
        self.start("firewalld", "fail2ban")

    def modules(self, text):
        (self.home / "modules").write_text(text)
        for line in text.splitlines():
            (self.home / "module" / line.split()[0]).mkdir(exist_ok=True)

    def start(self, *names):
        for name in names:
            (self.home / "up" / (name + ".service")).touch()

    def put(self, folder, name):
        (self.home / folder / name).touch()

    def drill(self, *words):
        """The result, and what was done."""
        path = dict(os.environ, PATH="{0}:{1}".format(self.home / "bin", os.environ["PATH"]))
        subprocess.check_call(["/bin/sh", str(self.home / "drill.sh")] + list(words), env=path)
        result = self.home / "run/conntrack_drill" / words[0]
        for _attempt in range(500):
            if result.exists():
                break
            time.sleep(0.01)
        log = self.home / "log"
        return result.read_text(), log.read_text().splitlines() if log.exists() else []

    def is_up(self, name):
        return (self.home / "up" / (name + ".service")).exists()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_restart(machine):
    assert machine.drill("firewall", "firewalld") == (
        "done\n",
        ["restart firewalld.service", "start firewalld.service", "udevadm settle --timeout=60"],
    )


def test_reload(machine):
    result, log = machine.drill("reload", "firewalld")
    assert result == "done\n"
    assert log == [
        "stop firewalld.service",
        "modprobe -r nft_ct",
        "modprobe -r nft_chain_nat",
        "modprobe -r nf_nat",
        "modprobe -r nf_conntrack",
        "modprobe nf_conntrack",
        "start firewalld.service",
        # What systemd stopped with it, and what was active of that.
        "start fail2ban.service",
        "udevadm settle --timeout=60",
    ]
    assert machine.is_up("firewalld")


def test_a_module_that_needs_two_of_the_stack(machine):
    machine.modules(
        "nf_conntrack_netlink 57344 0 - Live 0x0\n"
        "nf_nat 57344 1 nf_conntrack_netlink, Live 0x0\n"
        "nf_conntrack 188416 2 nf_conntrack_netlink,nf_nat, Live 0x0\n"
    )
    result, log = machine.drill("reload", "firewalld")
    assert result == "done\n"
    unloaded = [line for line in log if line.startswith("modprobe -r")]
    assert unloaded == ["modprobe -r nf_conntrack_netlink", "modprobe -r nf_nat", "modprobe -r nf_conntrack"]


def test_a_module_that_rules_hold_is_no_half_event(machine):
    machine.modules(MODULES.replace("nft_ct 24576 0 -", "nft_ct 24576 2 -"))
    result, log = machine.drill("reload", "firewalld")
    assert result.startswith(
        "rules or containers that outlast the firewall hold nft_ct (2), so that nothing was unloaded"
    )
    assert log[:2] == ["stop firewalld.service", "start firewalld.service"]
    assert machine.is_up("firewalld")


def test_a_module_that_does_not_unload(machine):
    machine.put("stuck", "nf_nat")
    result, log = machine.drill("reload", "firewalld")
    assert result.startswith("modprobe: FATAL: Module nf_nat is in use. nf_nat cannot be unloaded")
    assert "modprobe -r nf_conntrack" not in log
    assert log[log.index("modprobe -r nf_nat") + 1 :][:2] == ["modprobe nf_conntrack", "start firewalld.service"]
    assert machine.is_up("firewalld")


def test_a_module_that_does_not_load(machine):
    machine.put("stuck", "load")
    result, _log = machine.drill("reload", "firewalld")
    assert result.startswith("modprobe: FATAL: bad line in modprobe.d nf_conntrack cannot be loaded")
    assert machine.is_up("firewalld")


def test_a_module_without_a_firewall(machine):
    result, log = machine.drill("reload")
    assert result == "done\n"
    assert log[0] == "modprobe -r nft_ct"
    assert log[-2:] == ["modprobe nf_conntrack", "udevadm settle --timeout=60"]


@pytest.mark.parametrize("event", ["firewall", "reload"])
def test_a_firewall_that_is_not_up_is_left_alone(machine, event):
    machine.start("nftables")
    result, log = machine.drill(event, "nftables", "ufw")
    assert result == "not up before: ufw; nothing was done\n"
    assert log == []


@pytest.mark.parametrize("event", ["firewall", "reload"])
def test_a_firewall_that_does_not_come_back_is_said(machine, event):
    machine.put("broken", "firewalld.service")
    result, log = machine.drill(event, "firewalld")
    assert result == "not up again after two minutes: firewalld; look at its log and start it\n"
    assert "start firewalld.service" in log


def test_two_firewalls(machine):
    machine.start("ufw")
    result, log = machine.drill("firewall", "firewalld", "ufw")
    assert result == "done\n"
    assert log[:2] == ["restart firewalld.service", "restart ufw.service"]


def test_after_a_reboot_nothing_is_disturbed(machine):
    result, log = machine.drill("reboot", "firewalld")
    assert result == "done\n"
    assert log == ["udevadm settle --timeout=60"]
    (machine.home / "up/firewalld.service").unlink()
    result, log = machine.drill("reboot", "firewalld")
    said = "not up again after two minutes: firewalld; see whether it is enabled, look at its log and start it\n"
    assert result == said
    assert not [line for line in log if line.startswith(("start", "restart"))]


def test_without_systemd(machine):
    (machine.home / "run/systemd/system").rmdir()
    machine.start("iptables")
    result, log = machine.drill("firewall", "iptables")
    assert result == "done\n"
    assert log[0] == "service iptables restart"
