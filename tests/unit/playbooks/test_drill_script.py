# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""playbooks/files/drill.sh on a machine of files: what it does in which order, and that the firewall is up at the end.

The script is run by sh as it is, but for the paths of /proc, /sys and /run; the commands that it calls are stand-ins
which log their words.
"""

import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import time

import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.history import HOLD, LOCK
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import Busy, WritableHost

pytestmark = pytest.mark.on_one_python

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SCRIPT = os.path.join(HOME, "playbooks", "files", "drill.sh")
# What of a machine the script names, and where it is here.
PATHS = {
    "/proc/modules": "modules",
    "/proc/uptime": "uptime",
    "/sys/module/": "module/",
    "/run/": "run/",
    "/etc/headroom/": "etc/headroom/",
    "/etc/systemd/": "etc/systemd/",
    "/var/lib/": "var/lib/",
}
# Tries, a second apart, that are fewer here.
TRIES = {"await 120 is_up": "await 9 is_up", "await 60 locked": "await 20 locked", "await 300": "await 20"}
# Names, uses and users as Debian 12 with firewalld has them once firewalld has stopped; others are not of the stack.
MODULES = """\
nft_ct 24576 0 - Live 0x0
nft_chain_nat 16384 0 - Live 0x0
nf_nat 57344 1 nft_chain_nat, Live 0x0
nf_tables 303104 3 nft_ct,nft_chain_nat, Live 0x0
nf_conntrack 188416 2 nft_ct,nf_nat, Live 0x0
nf_defrag_ipv4 16384 1 nf_conntrack, Live 0x0
"""
# Before each command a test may have the drill killed, or after it: the process group that called it, by the signal named.
HOOK = """\
#!/bin/sh
echo "$0 $*" >>HERE/steps
[ ! -e HERE/strike ] || step=$(wc -l <HERE/steps)
strike() {
    [ -e HERE/strike ] && [ "$(cat HERE/strike)" = "$1 $step" ] || return
    ls HERE/up >HERE/up_then
    rm HERE/strike
    kill -s "$(cat HERE/signal)" 0
}
strike before
work() {
    BODY
}
work "$@"
code=$?
strike after
[ ! -e HERE/kill_after ] || ! tail -n 1 HERE/log | grep -qxFf HERE/kill_after || { rm HERE/kill_after; kill -s KILL 0; }
exit $code
"""
# What is called often, and what is called by the guard as it waits, is no step.
PLAIN = """\
#!/bin/sh
BODY
"""
COMMANDS = {
    "systemd-run": """
        while [ "$1" != /bin/sh ]; do shift; done
        setsid "$@" </dev/null >>HERE/output 2>&1 &
    """,
    "systemctl": """
        case $1 in
            is-active) [ "$2" != --quiet ] || shift; [ -e "HERE/up/$2" ]; return ;;
            is-system-running) echo degraded; return 1 ;;
            show) echo "ConsistsOf=fail2ban.service idle.service"; return ;;
            daemon-reload) return ;;
        esac
        if [ "$2" = conntrack-drill-guard.service ]; then
            ! [ -e HERE/broken/guard ] || return
            for units in HERE/run/systemd/system HERE/etc/systemd/system; do
                [ ! -e "$units/$2" ] || command=$(sed -n 's/^ExecStart=//p' "$units/$2")
            done
            setsid /bin/sh -c "until $command; do sleep 1; done" </dev/null >>HERE/output 2>&1 8>&- 9>&- &
            return
        fi
        echo "$@" >>HERE/log
        verb=$1; shift
        for unit in "$@"; do
            while [ -e "HERE/slow/$unit" ]; do sleep 1; done
            case $verb in
                stop) rm -f "HERE/up/$unit" ;;
                start) [ -e "HERE/broken/$unit" ] || touch "HERE/up/$unit" ;;
                restart) rm -f "HERE/up/$unit"; [ -e "HERE/broken/$unit" ] || touch "HERE/up/$unit" ;;
            esac
        done
    """,
    "service": """
        [ "$2" != status ] || { [ -e "HERE/up/$1.service" ]; return; }
        echo "service $@" >>HERE/log
        while [ -e "HERE/slow/$1.service" ]; do sleep 1; done
        case $2 in
            restart) "$0" "$1" stop; "$0" "$1" start ;;
            stop) rm -f "HERE/up/$1.service" ;;
            start)
                [ -e "HERE/broken/$1.service" ] || touch "HERE/up/$1.service"
                # A daemon, which lives on and has every file that was open.
                setsid HERE/daemon 60 >/dev/null 2>&1 &
                ;;
        esac
    """,
    "firewall-cmd": """
        [ -e HERE/up/firewalld.service ]
    """,
    "modprobe": """
        echo "modprobe $@" >>HERE/log
        case $1 in
            -r)
                while [ -e HERE/stuck/hang ]; do sleep 1; done
                ! [ -e "HERE/stuck/$2" ] || { echo "modprobe: FATAL: Module $2 is in use."; return 1; }
                grep -q "^$2 [0-9]* 0 " HERE/modules || { echo "modprobe: FATAL: Module $2 is in use by others."; return 1; }
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
                ! [ -e "HERE/stuck/load" ] || { cat HERE/stuck/load; return 1; }
                mkdir -p HERE/module/nf_conntrack
                ;;
        esac
    """,
    "udevadm": """
        echo "udevadm $@" >>HERE/log
    """,
}
OFTEN = {
    "sleep": "exec SLEEP 0.005",
    "logger": 'echo "logger: $*" >>HERE/output',
}


class Machine:
    def __init__(self, home, systemd=True):
        self.home = home
        self.systemd = systemd
        for name in ("up", "broken", "stuck", "slow", "module", "bin", "run", "etc", "var/lib"):
            (home / name).mkdir(parents=True)
        if systemd:
            (home / "run/systemd/system").mkdir(parents=True)
        self.modules(MODULES)
        self.boot(uptime=1000)
        for frame, commands in ((HOOK, COMMANDS), (PLAIN, OFTEN)):
            for name, text in commands.items():
                command = home / "bin" / name
                text = frame.replace("BODY", text).replace("SLEEP", shutil.which("sleep"))
                command.write_text(text.replace("HERE", str(home)))
                command.chmod(0o755)
        with open(SCRIPT, encoding="utf-8") as source:
            text = source.read()
        for path, to in PATHS.items():
            assert path in text
            text = text.replace(path, str(home / to) + ("/" if path.endswith("/") else ""))
        for tries, fewer in TRIES.items():
            assert tries in text
            text = text.replace(tries, fewer)
        (home / "drill.sh").write_text(text)
        (home / "daemon").symlink_to(shutil.which("sleep"))
        self.state = home / "var/lib/headroom/drill"
        self.start("firewalld", "fail2ban")

    def boot(self, uptime=1):
        (self.home / "uptime").write_text("{0}.25 17.00\n".format(uptime))

    def modules(self, text):
        (self.home / "modules").write_text(text)
        for line in text.splitlines():
            (self.home / "module" / line.split()[0]).mkdir(exist_ok=True)

    def start(self, *names):
        for name in names:
            (self.home / "up" / (name + ".service")).touch()

    def put(self, folder, name, text=""):
        (self.home / folder).mkdir(parents=True, exist_ok=True)
        (self.home / folder / name).write_text(text)

    def strike(self, when, signal="KILL"):
        """Kill the drill at a step: "before 3" or "after 3"."""
        self.put(".", "strike", when)
        self.put(".", "signal", signal)

    def call(self, *words):
        script = ["/bin/sh", str(self.home / "drill.sh")]
        return subprocess.run(script + list(words), env=self.environment(), start_new_session=True, check=False)

    def begin(self, event, *firewalls, id="first"):
        assert self.call("start", id, event, *firewalls).returncode == 0

    def end(self, event, id="first"):
        """How an event ended, and what was done until then."""
        path = self.state / id / event / "end"
        until(path.exists)
        return path.read_text(), self.log()

    def drill(self, event, *firewalls, id="first"):
        self.begin(event, *firewalls, id=id)
        return self.end(event, id)

    def log(self):
        log = self.home / "log"
        return log.read_text().splitlines() if log.exists() else []

    def steps(self):
        return (self.home / "steps").read_text().splitlines()

    def is_up(self, name):
        return (self.home / "up" / (name + ".service")).exists()

    def is_free(self, name):
        """Nobody has the lock of this name."""
        with open(name, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    @property
    def lock(self):
        return self.home / "run/headroom.netfilter.lock"

    def stop(self, name):
        """How the log has it that a service is stopped."""
        return "stop {0}.service".format(name) if self.systemd else "service {0} stop".format(name)

    def kill_after(self, line):
        """Kill the drill once ``line`` is in the log."""
        (self.home / "kill_after").write_text(line + "\n")

    def kill_all(self):
        """Everything that runs from here."""
        left = 1
        while left:
            left = 0
            for process in os.listdir("/proc"):
                try:
                    with open("/proc/{0}/cmdline".format(process), "rb") as words:
                        if os.fsencode(str(self.home)) in words.read():
                            os.kill(int(process), signal.SIGKILL)
                            left += 1
                except (OSError, ValueError):
                    pass

    def guard(self):
        """The guard, as a boot starts it."""
        if (self.state / "guard.sh").exists():
            subprocess.run(["/bin/sh", str(self.state / "guard.sh"), "guard"], env=self.environment(), check=True)

    def environment(self):
        return dict(os.environ, PATH="{0}:{1}".format(self.home / "bin", os.environ["PATH"]))

    def rest(self):
        """Waits until neither a drill nor a guard is left."""
        until(lambda: self.is_free(self.lock) and self.is_free(self.state / "guard.lock"))

    def left(self):
        """What a drill is to leave nothing of."""
        found = [self.state / "armed", *self.home.glob("*/systemd/system/conntrack*")]
        found += self.home.glob("*/systemd/system/*/conntrack*")
        return [str(path) for path in found if os.path.lexists(path)]


def until(true):
    for _attempt in range(20000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("not so in 200 seconds")


@pytest.fixture
def a_machine(tmp_path):
    made = []

    def make(systemd=True):
        made.append(Machine(tmp_path / str(len(made)), systemd))
        return made[-1]

    yield make
    for machine in made:
        machine.kill_all()


@pytest.fixture
def machine(a_machine):
    return a_machine()


def test_restart(machine):
    assert machine.drill("firewall", "firewalld") == (
        "done\n",
        [
            "restart firewalld.service",
            "start firewalld.service",
            "start fail2ban.service",
            "udevadm settle --timeout=60",
        ],
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
    machine.put("stuck", "load", "modprobe: FATAL: bad line in modprobe.d\n")
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


def test_after_a_boot_nothing_is_disturbed(machine):
    result, log = machine.drill("boot", "firewalld")
    assert result == "done\n"
    assert log == ["udevadm settle --timeout=60"]
    (machine.home / "up/firewalld.service").unlink()
    result, log = machine.drill("boot", "firewalld", id="second")
    said = "not up again after two minutes: firewalld; see whether it is enabled, look at its log and start it\n"
    assert result == said
    assert not [line for line in log if line.startswith(("start", "restart"))]


def test_without_systemd(a_machine):
    machine = a_machine(systemd=False)
    machine.start("iptables")
    result, log = machine.drill("firewall", "iptables")
    assert result == "done\n"
    assert log[0] == "service iptables restart"


# However it dies

BOTH = pytest.mark.parametrize("systemd", [True, False], ids=["systemd", "without systemd"])


@BOTH
@pytest.mark.parametrize("event", ["firewall", "reload"])
def test_killed_at_any_step_the_firewall_is_up_again(a_machine, event, systemd):
    whole = a_machine(systemd)
    assert whole.drill(event, "firewalld")[0] == "done\n"
    whole.rest()
    assert whole.left() == []
    steps = whole.steps()
    assert len(steps) > 5
    was_down = 0
    for number in range(1, len(steps) + 1):
        for when in ("before", "after") if event == "reload" else ("before",):
            machine = a_machine(systemd)
            machine.strike("{0} {1}".format(when, number))
            machine.call("start", "first", event, "firewalld")
            until(lambda machine=machine: not (machine.home / "strike").exists())
            machine.rest()
            at = (when, number, steps[number - 1])
            was_down += "firewalld.service" not in (machine.home / "up_then").read_text()
            assert machine.is_up("firewalld"), at
            assert machine.is_up("fail2ban"), at
            assert (machine.home / "module/nf_conntrack").exists(), at
            assert not (machine.state / "armed").exists(), at
            # Without a guard nothing had been stopped; a boot starts the one that was there.
            assert machine.left() == [] or machine.log() == [], at
            machine.guard()
            assert machine.left() == [], at
            assert machine.is_up("firewalld"), at
    assert was_down or (systemd and event == "firewall")


@BOTH
def test_cut_off_is_how_it_ended(a_machine, systemd):
    machine = a_machine(systemd)
    machine.kill_after(machine.stop("firewalld"))
    result, log = machine.drill("reload", "firewalld")
    assert result == "cut off before its end; what was up before was started again\n"
    assert log[0] == machine.stop("firewalld")
    assert machine.is_up("firewalld")


def test_cut_off_and_the_firewall_does_not_come_up(machine):
    machine.put("broken", "firewalld.service")
    machine.kill_after("stop firewalld.service")
    result, log = machine.drill("reload", "firewalld")
    assert result == "cut off before its end; not up again: firewalld; look at its log and start it\n"
    assert log.count("start firewalld.service") == 2


@BOTH
def test_only_the_shell_is_killed(a_machine, systemd):
    """What it was waiting for goes on, and ends before the firewall is started."""
    machine = a_machine(systemd)
    machine.put("slow", "firewalld.service")
    machine.begin("reload", "firewalld")
    until(lambda: machine.log() == [machine.stop("firewalld")])
    os.kill(int((machine.state / "armed").read_text().splitlines()[2]), signal.SIGKILL)
    time.sleep(0.3)
    assert len(machine.log()) == 1
    (machine.home / "slow/firewalld.service").unlink()
    assert machine.end("reload")[0].startswith("cut off before its end; what was up")
    machine.rest()
    assert machine.is_up("firewalld")


def test_a_drill_that_hangs_is_ended(machine):
    machine.put("stuck", "hang")
    machine.begin("reload", "firewalld")
    until(lambda: machine.log()[-1:] == ["modprobe -r nft_ct"])
    assert not machine.is_up("firewalld")
    machine.boot(uptime=1000 + 599)
    time.sleep(0.2)
    assert not machine.is_up("firewalld")
    machine.boot(uptime=1000 + 602)
    assert machine.end("reload")[0].startswith("cut off before its end; what was up")
    machine.rest()
    assert machine.is_up("firewalld")


@pytest.mark.parametrize("then", ["boot", "drill"])
@BOTH
def test_the_guard_dies_as_well(a_machine, systemd, then):
    """A power cut, or everything killed: the boot's guard does it, or the next drill."""
    machine = a_machine(systemd)
    machine.put("slow", "firewalld.service")
    machine.begin("reload", "firewalld")
    until(machine.log)
    machine.kill_all()
    machine.rest()
    (machine.home / "slow/firewalld.service").unlink()
    (machine.home / "up/firewalld.service").unlink()
    if then == "boot":
        machine.boot()
        machine.guard()
    else:
        assert machine.drill("firewall", "firewalld", id="second")[0] == "done\n"
        machine.rest()
    assert machine.end("reload")[0].startswith("cut off before its end; what was up")
    assert machine.is_up("firewalld")
    assert machine.left() == []


def test_the_unit_is_there_at_the_next_boot(machine):
    machine.put("slow", "firewalld.service")
    machine.begin("reload", "firewalld")
    until(machine.log)
    units = machine.home / "etc/systemd/system"
    unit = units / "conntrack-drill-guard.service"
    assert (units / "multi-user.target.wants/conntrack-drill-guard.service").resolve() == unit
    assert "ExecStart=/bin/sh {0}/guard.sh guard\n".format(machine.state) in unit.read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_takes_the_unit(machine):
    machine.put("slow", "firewalld.service")
    machine.begin("reload", "firewalld")
    unit = machine.home / "etc/systemd/system/conntrack-drill-guard.service"
    until(machine.log)
    said = subprocess.run(["systemd-analyze", "verify", str(unit)], stderr=subprocess.PIPE, check=False)
    assert (said.returncode, said.stderr) == (0, b"")


@BOTH
def test_what_was_up_when_no_guard_can_stand_by(a_machine, systemd):
    machine = a_machine(systemd)
    if systemd:
        machine.put("broken", "guard")
    else:
        # Its lock cannot be opened.
        (machine.state / "guard.lock").mkdir(parents=True)
    result, log = machine.drill("reload", "firewalld")
    assert result == "no guard stands by that would have the firewall up again; nothing was done\n"
    assert log == []
    assert machine.left() == []


@BOTH
@pytest.mark.parametrize("event", ["firewall", "reload"])
def test_signals_of_a_lost_connection_end_nothing(a_machine, event, systemd):
    whole = a_machine(systemd)
    expected = whole.drill(event, "firewalld")
    steps = len(whole.steps())
    # The first is the session's that starts it: none but a hang-up is nothing to it.
    for number, name in zip(range(1, steps + 1, 3), itertools.cycle(("HUP", "TERM"))):
        machine = a_machine(systemd)
        machine.strike("before {0}".format(number), name)
        assert machine.drill(event, "firewalld")[0] == expected[0]
        # The command itself may end by it.
        assert name == "TERM" or machine.log() == expected[1]
        assert machine.is_up("firewalld")
        machine.rest()


# One at a time


def test_what_the_script_names_is_what_others_name_so():
    with open(SCRIPT, encoding="utf-8") as source:
        text = source.read()
    assert "\nlock={0}\nhold={1}\n".format(LOCK, HOLD) in text
    with open(os.path.join(HOME, "playbooks", "drill.yml"), encoding="utf-8") as source:
        plays = yaml.safe_load(source)
    assert [play["strategy"] for play in plays] == ["linear", "linear"]
    assert "\nhome={0}\n".format(plays[1]["vars"]["__drill_ends"]) in text


@BOTH
def test_two_at_once(a_machine, systemd):
    machine = a_machine(systemd)
    machine.put("slow", "firewalld.service")
    machine.begin("reload", "firewalld")
    until(machine.log)
    armed = (machine.state / "armed").read_text()
    result, log = machine.drill("firewall", "firewalld", id="other")
    assert result.startswith("this host is held by drill first (reload), process ")
    assert result.endswith("; nothing was done\n")
    assert log == [machine.stop("firewalld")]
    assert (machine.state / "armed").read_text() == armed
    (machine.home / "slow/firewalld.service").unlink()
    assert machine.end("reload")[0] == "done\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("change 4711 of ops@here, process 12\n", "change 4711 of ops@here, process 12"),
        ("\x1b[31mred\x07" + "x" * 1000, "[31mred" + "x" * 191),
        ("", "another change, which has not said its name"),
    ],
    ids=["named", "hostile", "unnamed"],
)
def test_a_change_that_is_going_on(machine, text, said):
    machine.lock.write_text(text)
    with open(machine.lock) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result, log = machine.drill("reload", "firewalld")
    assert (result, log) == ("this host is held by {0}; nothing was done\n".format(said), [])
    # Nobody's any more: the next one has it.
    assert machine.drill("reload", "firewalld", id="second")[0] == "done\n"


def test_a_change_and_a_drill_have_one_lock(machine):
    host = WritableHost(str(machine.home))
    with host.lock(LOCK, 0, "ann@control, at work since noon"):
        result, log = machine.drill("reload", "firewalld")
    assert (result, log) == ("this host is held by ann@control, at work since noon; nothing was done\n", [])
    machine.put("slow", "firewalld.service")
    machine.begin("reload", "firewalld", id="second")
    until(machine.log)
    said = r"^drill second \(reload\), process [0-9]+, since [0-9T:Z-]+$"
    with pytest.raises(Busy, match=said), host.lock(LOCK, 0, "bob"):
        pass
    (machine.home / "slow/firewalld.service").unlink()
    with host.lock(LOCK, 20, "bob"):
        assert machine.is_up("firewalld")


def test_a_lock_that_was_taken_away_is_none(machine):
    with open(machine.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine.begin("firewall", "firewalld")
        time.sleep(0.1)
        machine.lock.unlink()
        assert machine.end("firewall")[0] == "done\n"


def test_a_change_that_ends_is_waited_for(machine):
    with open(machine.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine.begin("firewall", "firewalld")
        time.sleep(0.1)
        assert machine.log() == []
    assert machine.end("firewall")[0] == "done\n"


def test_a_host_on_hold(machine):
    machine.put("etc/headroom", "netfilter.hold", "until the \x07audit is over\n")
    result, log = machine.drill("firewall", "firewalld")
    assert result.startswith("this host is on hold: until the audit is over; remove ")
    assert log == []


@BOTH
def test_the_same_event_sent_twice_is_run_once(a_machine, systemd):
    machine = a_machine(systemd)
    machine.begin("firewall", "firewalld")
    machine.begin("firewall", "firewalld")
    machine.end("firewall")
    machine.begin("firewall", "firewalld")
    machine.rest()
    log = machine.log()
    assert len([line for line in log if "restart" in line]) == 1
    assert (machine.state / "first/events").read_text() == "firewall "


def test_nothing_that_was_started_keeps_the_lock(a_machine):
    machine = a_machine(systemd=False)
    assert machine.drill("reload", "firewalld")[0] == "done\n"
    machine.rest()


def test_a_reboot_is_waited_for_with_the_lock(machine):
    assert machine.drill("reboot", "firewalld") == ("ready\n", [])
    assert "drill first (reboot)" in machine.lock.read_text()
    # None comes.
    until(lambda: machine.end("reboot")[0] != "ready\n")
    assert machine.end("reboot")[0] == "no reboot came in five minutes\n"
    machine.rest()


# What is kept


def test_the_ends_of_the_last_runs_are_kept_for_root_alone(machine):
    for number in range(7):
        machine.begin("boot", id="run{0}".format(number))
        machine.end("boot", id="run{0}".format(number))
        machine.rest()
    kept = sorted(path.name for path in machine.state.iterdir() if path.is_dir())
    assert kept == ["run{0}".format(number) for number in range(2, 7)]
    assert machine.end("boot", id="run6")[0] == "done\n"
    assert [machine.state.stat().st_mode & 0o777, machine.lock.stat().st_mode & 0o777] == [0o700, 0o600]


def test_an_end_is_a_line_that_the_controller_takes(machine):
    machine.put("stuck", "load", "FATAL: " + "x" * 1000 + "\nand more\n")
    result, _log = machine.drill("reload", "firewalld")
    assert result.startswith("FATAL: xxx")
    assert len(result) == 301
