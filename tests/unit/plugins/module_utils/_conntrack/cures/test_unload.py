# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""conntrack_unload on golden hosts: what it writes and takes back, and where there is nothing it could do."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import perform, transaction
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.cures.unload import Options, run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.history import history
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import UNLOAD as PATH
from ansible_collections.headroom.netfilter.tests.unit.changes import Machine
from ansible_collections.headroom.netfilter.tests.unit.fakes import FakeKernel, Watching

CONFIG = "/etc/sysconfig/iptables-config"
STACK = "nf_nat 57344 0 - Live 0x0\nnf_conntrack 188416 1 nf_nat, Live 0x0\n"


class Loading(Watching):
    """Its modules go and come as modprobe is asked; a load does as modprobe.d says, but for one that ``insists``."""

    insists = False

    def _command(self, argv, longest):
        if argv[0] != "modprobe":
            return super()._command(argv, longest)
        name = argv[-1]
        lines = [line for line in (self.read("/proc/modules") or "").splitlines(True) if line.split()[0] != name]
        if argv[1] == "-r":
            os.rename(self.path("/sys/module/" + name), self.path("/run/" + name))
        elif self.exists(PATH) and not self.insists:
            raise OSError(5, "modprobe: exit code 1")
        else:
            line = next(line for line in STACK.splitlines(True) if line.startswith(name + " "))
            lines.append(line)
            if self.exists("/run/" + name):
                os.rename(self.path("/run/" + name), self.path("/sys/module/" + name))
        with open(self.path("/proc/modules"), "w", encoding="ascii") as target:
            target.write("".join(lines).replace(name + ",", "" if argv[1] == "-r" else name + ","))
        return ""

    def exists(self, path):
        # The values are the module's.
        if path.startswith("/proc/sys/net/netfilter/") and not super().exists("/sys/module/nf_conntrack"):
            return False
        return super().exists(path)


class Unloadable(Machine):
    def __init__(self, place):
        super().__init__(place)
        self.write("/run/systemd/system/x", "")
        self.write("/proc/modules", STACK)
        os.makedirs(self.root + "/sys/module/nf_nat", exist_ok=True)
        self.write(CONFIG, '# theirs\nIPTABLES_MODULES="ip_conntrack_netbios_ns"\n', 0o600)
        for path in ("/etc/firewalld/firewalld.conf",):
            if os.path.exists(self.root + path):
                os.unlink(self.root + path)
        for name in (
            os.listdir(self.root + "/run/systemd/units") if os.path.isdir(self.root + "/run/systemd/units") else ()
        ):
            os.unlink(self.root + "/run/systemd/units/" + name)

    def host(self, **options):
        return Loading("debian12", self.root, **options)


@pytest.fixture
def machine(memory):
    return Unloadable(memory)


def refused(host, **options):
    with pytest.raises(ChangeError) as caught:
        run(host, Options(**options))
    return caught.value


def loaded(machine):
    return sorted(line.split()[0] for line in machine.text("/proc/modules").splitlines())


def test_unloaded_kept_out_and_restored_to_the_byte(machine):
    before = machine.state()
    made = run(machine.host(), Options(id="one"))
    assert (made["changed"], made["state"], made["kernel"], made["modules"]) == (
        True,
        "kept",
        "module",
        ["nf_nat", "nf_conntrack"],
    )
    assert loaded(machine) == []
    assert machine.text(PATH).splitlines()[-1] == "install nf_conntrack /bin/false"
    assert machine.text(CONFIG) == '# theirs\nIPTABLES_MODULES=""\n'
    assert [one["before_header"] for one in made["diff"]] == [PATH, CONFIG, "loaded modules"]
    host = machine.host()
    again = run(host, Options())
    assert (again["changed"], host.calls) == (False, [])
    back = run(machine.host(), Options(state="restored"))
    assert (back["changed"], back["state"], back["not_restored"]) == (True, "kept", [])
    assert (machine.state(), loaded(machine)) == (before, ["nf_conntrack", "nf_nat"])
    assert run(machine.host(), Options(state="restored"))["changed"] is False


def test_check_mode_foretells_it_and_writes_nothing(machine):
    whole = machine.everything()
    checked = run(machine.host(), Options(), True)
    assert machine.everything() == whole
    made = run(machine.host(), Options())
    for name in ("changed", "modules", "diff", "kernel"):
        assert checked[name] == made[name]
    whole = machine._below("/")
    back = run(machine.host(), Options(state="restored"), True)
    assert (back["changed"], back["state"]) == (True, "none")
    assert machine._below("/") == whole


def test_restored_takes_no_later_change_back(machine):
    before = machine.state()
    run(machine.host(), Options(id="one"))
    transaction.run(
        machine.host(), read({"id": "two", "files": [{"path": "/etc/sysctl.d/50-x.conf", "content": "x\n"}]})
    )
    run(machine.host(), Options(state="restored"))
    assert machine.text("/etc/sysctl.d/50-x.conf") == "x\n"
    os.unlink(machine.root + "/etc/sysctl.d/50-x.conf")
    assert machine.state() == before
    assert {one["id"]: one["state"] for one in history(machine.host())["changes"]}["two"] == "kept"


def test_it_can_be_restored_after_any_number_of_changes(machine):
    run(machine.host(), Options(id="one"))
    for number in range(9):
        files = [{"path": "/etc/sysctl.d/50-x.conf", "content": "{0}\n".format(number)}]
        transaction.run(machine.host(), read({"id": "c{0}".format(number), "files": files}))
    assert run(machine.host(), Options(state="restored"))["changed"] is True
    assert not machine.host().exists(PATH)


def test_confirmed_or_undone(machine):
    before = machine.state()
    assert run(machine.host(), Options(id="one", confirm_seconds=60))["state"] == "unconfirmed"
    perform.overdue(machine.host(), "one", [])
    assert (machine.state(), loaded(machine)) == (before, ["nf_conntrack", "nf_nat"])
    assert run(machine.host(), Options(id="two", confirm_seconds=60))["state"] == "unconfirmed"
    kept = run(machine.host(), Options(confirm="two"))
    assert (kept["state"], kept["modules"], loaded(machine)) == ("kept", ["nf_nat", "nf_conntrack"], [])


def test_refused_while_it_is_needed(machine):
    machine.write("/proc/9/comm", "dockerd\n")
    whole = machine.everything()
    error = refused(machine.host())
    assert str(error).startswith(
        "refused, since connection tracking is needed here: service docker: process dockerd (stop"
    )
    assert error.told["needed_by"] == [
        {
            "kind": "service",
            "where": "docker",
            "text": "process dockerd",
            "remedy": "stop and disable it, if the host can do without",
        }
    ]
    assert machine.everything() == whole


def test_what_loads_all_the_same_has_it_undone(machine):
    before = machine.state()
    host = machine.host()
    host.insists = True
    assert "modprobe loads nf_conntrack all the same" in str(refused(host))
    assert (machine.state(), loaded(machine)) == (before, ["nf_conntrack", "nf_nat"])


def test_where_it_is_built_in_nothing_is_done():
    answer = run(FakeKernel(module=False), Options(confirm_seconds=60))
    assert (answer["changed"], answer["state"], answer["kernel"]) == (False, "none", "builtin")


# Of nft 1.1.3 on a kernel 6.12, shortened; what puts fragments together tracks nothing.
DEFRAGMENTS = "\t\t-0000000400 ipv4_conntrack_defrag [nf_defrag_ipv4]\n"
TRACKS = "\t\t-0000000200 ipv4_conntrack_in [nf_conntrack]\n\t}\n\thook output {\n\t\t-0000000200 ipv4_conntrack_local [nf_conntrack]\n"
HOOKS = "family ip {{\n\thook prerouting {{\n{0}\t}}\n\thook postrouting {{\n\t\t+2147483647 nf_confirm [nf_conntrack]\n\t}}\n}}\n"


class Hooked(FakeKernel):
    """What its nft lists."""

    listed = ""

    def is_executable(self, path):
        return path == "/usr/sbin/nft"

    def run(self, argv, limit, longest=3.0):
        return self.listed if argv[-1] == "hooks" else ""


@pytest.mark.parametrize(
    ("listed", "hooks"),
    [
        (HOOKS.format(DEFRAGMENTS + TRACKS), ["ipv4_conntrack_in", "ipv4_conntrack_local"]),
        (HOOKS.format(DEFRAGMENTS), []),
        ("", None),
    ],
    ids=["tracked", "put together alone", "a kernel that does not tell"],
)
def test_by_which_hooks_packets_are_tracked(listed, hooks):
    host = Hooked(module=False)
    host.listed = listed
    assert run(host, Options())["hooks"] == hooks


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (FakeKernel(root=False), "root is needed"),
        (FakeKernel(first_netns=False), "this is not the first network namespace"),
    ],
    ids=["no root", "a container"],
)
def test_who_cannot_is_refused(host, said):
    assert said in str(refused(host))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": "../../x"}, "id: expected up to 64 letters"),
        ({"id": ""}, "id: expected up to 64 letters"),
        ({"confirm_seconds": -1}, "confirm_seconds: -1 will not do; expected 0, or 10 to 3600 seconds"),
        ({"confirm_seconds": 9}, "confirm_seconds: 9 will not do"),
        ({"confirm_seconds": 3601}, "confirm_seconds: 3601 will not do"),
        ({"lock_seconds": -1}, "lock_seconds: -1 will not do; expected 0 to 3600 seconds"),
        ({"confirm": "two"}, "confirm: two: there is no such change"),
        ({"confirm": "../one"}, "confirm: ../one: there is no such change"),
    ],
)
def test_bad_input_is_refused_before_any_change(machine, options, said):
    whole = machine.everything()
    for check in (True, False):
        with pytest.raises(ChangeError) as caught:
            run(machine.host(), Options(**options), check)
        assert said in str(caught.value)
    left = machine.everything()
    assert left[1] == whole[1]
    assert {path for path in left[0] if path not in whole[0]} <= {"/run/headroom.netfilter.lock"}
