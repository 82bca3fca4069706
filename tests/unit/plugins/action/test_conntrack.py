# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The action conntrack, over a host that answers what modules do there: what is asked of it, how often, and what comes of it."""

import copy
import hashlib
import re
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.headroom.netfilter.plugins.action import conntrack
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.modules import conntrack as documented
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack import answers, confirming
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    NOT_LOADED,
    NOT_ROOT,
    assignments,
    facts,
)

PREFIX = "net.netfilter.nf_conntrack_"
FACTS, SETTINGS = "conntrack_facts", "conntrack_settings"
EXPIRED = {
    "source": "ctnetlink",
    "examined": 9,
    "complete": True,
    "shortened": 7,
    "spared": 0,
    "gone": 0,
    "busy": 0,
    "corrected": 0,
    "forged": 0,
    "states": [],
}
STALE = {"failed": True, "stale": True, "msg": "hashsize: changed since it was read; run again"}


class Machine:
    """A host: its facts, and what its modules answer; a list of answers is used up, and the last of it stays."""

    def __init__(self, changes=(), **answers):
        self.facts, self.answers, self.asked = facts(changes), answers, []

    def answer(self, module, options, check_mode):
        self.asked.append((module, copy.deepcopy(options)))
        given = self.answers.get(module)
        if isinstance(given, list):
            given = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(given, Exception):
            raise given
        if given is not None:
            return copy.deepcopy(given)
        return getattr(self, module)(options, check_mode)

    def conntrack_facts(self, _options, _check_mode):
        return {"changed": False, "ansible_facts": {"conntrack": copy.deepcopy(self.facts)}}

    def conntrack_settings(self, options, check_mode):
        """As asked."""
        names = {PREFIX + "max": "max", "hashsize": "buckets", PREFIX + "expect_max": "expect_max"}
        after = {key: options[name] for key, name in names.items() if name in options}
        diff = [
            {"before": "", "after": one["content"], "before_header": "", "after_header": ""} for one in options["files"]
        ]
        answer = {"changed": True, "id": options["id"], "state": "none", "before": {}, "after": after}
        answer.update(diff=diff, reboot_needed=[], facts=copy.deepcopy(self.facts))
        if check_mode:
            return answer
        self.facts["table"].update({name: options[name] for name in names.values() if name in options})
        self.facts["timeouts"].update(options.get("timeouts", {}))
        for one in options["files"]:
            digest = hashlib.sha256(one["content"].encode()).hexdigest()
            there = {"sha256": digest, "mode": files.MODE, "owner": files.OWNER, "group": files.GROUP, "ours": True}
            self.facts["files"][one["path"]] = there
        return dict(answer, state="kept", facts=copy.deepcopy(self.facts))

    def modules(self):
        return [module for module, _options in self.asked]

    def options(self, module):
        return [options for name, options in self.asked if name == module]


class Action(conntrack.ActionModule):
    """The action, where ansible-core would send a module to a host."""

    def __init__(self, machine, check_mode, role, args):
        task = SimpleNamespace(
            args=args,
            check_mode=check_mode,
            async_val=0,
            delegate_to=None,
            _role=role,
            action="headroom.netfilter.conntrack",
            diff=True,
        )
        self.machine, self.resets = machine, 0
        connection = SimpleNamespace(reset=self._reset, _shell=SimpleNamespace(tmpdir="/tmp/x"), has_pipelining=True)
        super().__init__(task, connection, SimpleNamespace(), None, Templar(loader=DataLoader()), None)

    def _reset(self):
        self.resets += 1

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, **_more):
        return self.machine.answer(module_name.rpartition(".")[2], module_args, self._task.check_mode)


ROLE = object()


def run(machine, check_mode=False, variables=(), role=ROLE, **args):
    action = Action(machine, check_mode, role, args)
    task_vars = {"ansible_play_name": "Tune", "inventory_hostname": "a", **dict(variables)}
    action._templar.available_variables = task_vars
    return action.run(task_vars=task_vars)


def template(text):
    """As a file of variables has it, for a core that tells such from a host's text."""
    try:
        from ansible.template import trust_as_template
    except ImportError:
        return text
    return trust_as_template(text)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(confirming, "WAITS", (0, 0, 0))


def converged(changes=(), **args):
    machine = Machine(changes)
    run(machine, **args)
    machine.asked.clear()
    return machine


def test_a_change_takes_two_executions_and_is_told_whole():
    machine = Machine()
    was = facts()
    result = run(machine, max=100000)
    assert machine.modules() == [FACTS, SETTINGS]
    assert result["changed"] is True
    assert (result["checked"], result["files_only"]) == (False, False)
    assert result["before"] == answers.FACTS(was)
    assert result["after"] == answers.FACTS(machine.facts)
    assert result["after"]["table"]["max"] == 100000
    assert result["plan"] == conntrack_plan(was, {"conntrack_max": 100000})
    assert len(result["diff"]) == len(result["plan"]["files"])
    assert set(result) <= {"changed", "diff", *yaml.safe_load(documented.RETURN)}
    assert "ansible_facts" not in result


def test_what_is_asked_of_the_host():
    machine = Machine()
    plan = run(machine, max=100000, shrink="yes", takeover=True)["plan"]
    (options,) = machine.options(SETTINGS)
    assert options["files"] == [{"path": path, "content": text, "found": ""} for path, text in plan["contents"].items()]
    assert {name: options[name] for name in ("max", "buckets", "expect_max", "timeouts", "switches")} == plan["live"]
    assert options["found"]["hashsize"] == 8192
    assert options["found"][PREFIX + "tcp_timeout_established"] == 432000
    assert len(options["found"]) == len(plan["timeouts"]) + 3
    assert (options["expected"], options["lines"], options["refusals"]) == (plan["expected"], plan["lines"], [])
    assert (options["shrink"], options["takeover"], options["target"]) == (True, True, "host")
    assert options["initramfs"] is False
    assert re.fullmatch("[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}", options["id"])
    assert options["who"].endswith(", play Tune")
    assert "@" in options["who"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_disk_that_is_behind_is_renewed_where_that_is_asked_for(asked):
    line = {"path": "/boot/i:/etc/modprobe.d/a.conf", "line": 1, "command": "options", "name": "nf_conntrack"}
    disk = {"path": "/boot/i", "renew": "dracut -f --kver 6", "copies": ["/etc/"], "options": [], "sysctl": []}
    disk.update(modprobe=[dict(line, rest="hashsize=4096", text="")], told=True, older=[files.MODPROBE])
    machine = Machine({"assignments": assignments(ramdisk=disk)})
    result = run(machine, initramfs=asked)
    assert [options["initramfs"] for options in machine.options(SETTINGS)] == [asked]
    assert any("dracut -f --kver 6" in warning for warning in result["plan"]["warnings"]) is not asked


def test_a_file_that_differs_is_compared_with_what_the_plan_saw():
    machine = converged()
    machine.facts["files"][files.SYSCTL]["sha256"] = 64 * "7"
    run(machine)
    assert [(one["path"], one["found"]) for one in machine.options(SETTINGS)[0]["files"]] == [(files.SYSCTL, 64 * "7")]


@pytest.mark.parametrize(
    ("variables", "args", "limit"),
    [
        ({"conntrack_max": 100000}, {}, 100000),
        ({"conntrack_max": "100000"}, {"max": 200000}, 200000),
        ({"conntrack_max": template("{{ 10 * 10000 }}")}, {}, 100000),
        ({"conntrack_max": template("{{ nothing | default(omit) }}"), "omit": "__omit"}, {"max": 300000}, 300000),
        ({"conntrack_timeouts": {"udp": template("{{ 7 }}")}}, {"max": 300000}, 300000),
    ],
    ids=["variable", "the option wins", "template", "omitted", "within"],
)
def test_an_option_that_is_not_given_is_the_variable_of_the_role(variables, args, limit):
    plan = run(Machine(), variables=variables, role=None, **args)["plan"]
    assert plan["live"]["max"] == limit
    assert plan["timeouts"]["udp"] == (7 if "conntrack_timeouts" in variables else 30)


def test_a_variable_that_is_omitted_is_none():
    result = run(Machine(), variables={"conntrack_timeout_profile": template("{{ omit }}"), "omit": "__omit"})
    assert result["plan"] == run(Machine())["plan"]


def test_a_host_without_drift_costs_one_execution():
    machine = converged(max=100000)
    result = run(machine, max=100000)
    assert machine.modules() == [FACTS]
    assert result["changed"] is False
    assert result["after"] == result["before"] == answers.FACTS(machine.facts)
    assert "id" not in result


def test_check_mode_asks_for_the_same_and_changes_nothing():
    machine = Machine()
    checked = run(machine, check_mode=True, max=100000)
    assert (checked["changed"], checked["checked"], machine.facts) == (True, True, facts())
    assert checked["after"] == checked["before"]
    again = run(machine, max=100000)
    assert checked["diff"] == again["diff"]
    first, second = machine.options(SETTINGS)
    assert {**first, "id": ""} == {**second, "id": ""}
    # One for a change.
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("changes", "args", "said"),
    [
        ((), {"max": 20000000}, ["conntrack_max: 20000000 entries take"]),
        (NOT_ROOT, {}, ["root is needed to change this host"]),
        ((), {"max": -1, "headroom": "x"}, ["conntrack_max: -1 will not do", "conntrack_headroom: 'x' will not do"]),
        ((), {"maxx": 1}, ["there is no option maxx; there are max, expected_connections"]),
    ],
    ids=["unsafe", "not root", "input", "no such option"],
)
@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check mode"])
def test_what_is_refused_changes_nothing_and_says_everything(changes, args, said, check_mode):
    machine = Machine(changes)
    result = run(machine, check_mode, **args)
    assert machine.modules() in ([], [FACTS])
    assert (result["failed"], result["changed"]) == (True, False)
    assert len(result["refusals"]) == len(said)
    for refusal, words in zip(result["refusals"], said):
        assert words in refusal
        assert refusal in result["msg"]


def test_empty_is_unset_and_text_will_do():
    empty = dict.fromkeys(Policy._fields, "")
    assert run(Machine(), **empty)["plan"] == run(Machine())["plan"]
    told = run(Machine(), max="100000", timeouts='{"udp": 40}', apply="yes")["plan"]
    assert told == run(Machine(), max=100000, timeouts={"udp": 40})["plan"]


def test_a_variable_that_is_nearly_the_roles_is_refused():
    near = {"conntrack_expected_connection": 1}
    machine = Machine()
    result = run(machine, variables=near)
    assert machine.asked == []
    assert "conntrack_expected_connection: there is no such variable" in result["msg"]
    # A task of somebody else's takes its options from where it likes.
    assert "failed" not in run(machine, variables=near, role=None)


def test_what_has_changed_since_it_was_read_is_planned_anew_as_another_change():
    machine = Machine(conntrack_settings=[STALE, STALE, None])
    assert run(machine)["changed"] is True
    assert machine.modules() == [FACTS, SETTINGS] * 3
    assert len({options["id"] for options in machine.options(SETTINGS)}) == 3


def test_a_change_that_was_cut_off_with_its_connection_is_made_anew_as_another_one():
    # It is undone when it is asked for again; what that came to is what its id stands for from then on.
    machine = Machine(conntrack_settings=[AnsibleConnectionFailure("Connection reset"), STALE, None])
    assert run(machine)["changed"] is True
    first, again, anew = (options["id"] for options in machine.options(SETTINGS))
    assert first == again != anew


def test_three_times_at_most():
    machine = Machine(conntrack_settings=STALE)
    result = run(machine)
    assert machine.modules() == [FACTS, SETTINGS] * 3
    assert (result["failed"], result["msg"]) == (True, STALE["msg"])


def test_a_change_that_fails_is_asked_for_once_and_tells_what_was_put_back():
    failed = {
        "failed": True,
        "msg": "no room",
        "id": "x",
        "state": "undone",
        "restored": ["/etc/x"],
        "not_restored": [],
    }
    machine = Machine(conntrack_settings=failed)
    result = run(machine)
    assert machine.modules() == [FACTS, SETTINGS]
    assert {name: result[name] for name in failed} == failed


def test_a_lost_answer_is_asked_for_by_its_id():
    lost = AnsibleConnectionFailure("Connection reset\x1b")
    machine = Machine(conntrack_settings=[lost, lost, None])
    assert run(machine)["changed"] is True
    assert machine.modules() == [FACTS, SETTINGS, SETTINGS, SETTINGS]
    assert [options == machine.options(SETTINGS)[0] for options in machine.options(SETTINGS)] == [True] * 3


def test_a_host_that_stays_away_is_unreachable():
    machine = Machine(conntrack_settings=AnsibleConnectionFailure("Connection reset"))
    with pytest.raises(
        AnsibleConnectionFailure, match=r"lost during change [0-9TZ]{16}-[0-9a-f]{12}\. The host ends it by itself"
    ):
        run(machine)
    # And one that was never reached is not asked again.
    away = Machine(conntrack_facts=AnsibleConnectionFailure("No route"))
    with pytest.raises(AnsibleConnectionFailure, match="No route"):
        run(away)
    assert away.modules() == [FACTS]


def test_what_another_run_left_unfinished_is_undone_before_anything_is_planned():
    machine = converged()
    known = machine.facts["history"]
    machine.facts["history"] = dict(known, unfinished="some-id")

    def undone(options, check_mode):
        if "id" in options:
            return Machine.conntrack_settings(machine, options, check_mode)
        machine.facts["history"] = known
        machine.facts["table"]["max"] = 70000
        return dict(STALE, msg="some-id: left unfinished, and undone now")

    machine.conntrack_settings = undone
    result = run(machine)
    assert machine.modules() == [FACTS, SETTINGS, FACTS, SETTINGS]
    assert result["before"]["table"]["max"] == 70000
    assert result["warnings"] == ["some-id: left unfinished, and undone now"]


def test_unfinished_in_check_mode_is_left():
    machine = converged()
    machine.facts["history"] = dict(machine.facts["history"], unfinished="some-id")
    run(machine, check_mode=True)
    assert machine.modules() == [FACTS]


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check mode"])
@pytest.mark.parametrize("shortened", [0, 7])
def test_entries_are_shortened_at_each_run(check_mode, shortened):
    machine = converged()
    machine.answers["conntrack_expire"] = dict(EXPIRED, changed=bool(shortened), shortened=shortened)
    result = run(machine, check_mode, expire_existing=True)
    assert machine.asked == [(FACTS, {}), ("conntrack_expire", {"timeouts": result["plan"]["timeouts"]})]
    assert (result["changed"], result["expired"]["shortened"]) == (bool(shortened), shortened)


@pytest.mark.parametrize(("asked", "most"), [("500", 500), (0, 0), ("0", 0)])
def test_how_many_entries_may_be_shortened_is_handed_on(asked, most):
    machine = converged()
    machine.answers["conntrack_expire"] = dict(EXPIRED, changed=False)
    result = run(machine, expire_existing=True, expire_most=asked)
    assert machine.asked[1:] == [("conntrack_expire", {"timeouts": result["plan"]["timeouts"], "most": most})]


def test_a_change_stays_one_where_entries_cannot_be_shortened():
    machine = Machine(conntrack_expire={"failed": True, "msg": "no netlink"})
    result = run(machine, expire_existing=True)
    assert (result["failed"], result["changed"], result["msg"]) == (True, True, "no netlink")
    assert result["id"] == machine.options(SETTINGS)[0]["id"]


@pytest.mark.parametrize("args", [{"apply": False}, {"target": "image"}], ids=["apply", "image"])
def test_files_alone(args):
    machine = Machine()
    result = run(machine, max=100000, expire_existing=True, **args)
    (options,) = machine.options(SETTINGS)
    assert machine.modules() == [FACTS, SETTINGS]
    assert result["files_only"] is True
    assert options["files"]
    assert not {"max", "buckets", "expect_max", "timeouts", "found"} & set(options)
    assert options["target"] == args.get("target", "host")


def test_a_module_that_is_not_loaded_gets_its_files():
    machine = Machine(NOT_LOADED)
    run(machine, max=100000)
    (options,) = machine.options(SETTINGS)
    assert len(options["files"]) == 4
    assert "max" not in options


def test_a_container_gets_its_timeouts():
    machine = Machine({**CONTAINER, "kernel.writable": {"max": False, "buckets": False, "timeouts": True}})
    run(machine)
    (options,) = machine.options(SETTINGS)
    assert (options["files"], "max" in options, "buckets" in options) == ([], False, False)
    assert options["timeouts"]["tcp_established"] == 7440


def test_absent_goes_back_to_before_the_first_change():
    undone = {"changed": True, "id": "r", "undone": ["b", "a"], "restored": ["/etc/x"], "not_restored": []}
    machine = Machine(conntrack_rollback=undone)
    result = run(machine, state="absent")
    ((module, options),) = machine.asked
    assert (module, options["to"]) == ("conntrack_rollback", "first")
    assert {name: result[name] for name in undone} == undone
    assert set(result) <= {"changed", "diff", *yaml.safe_load(documented.RETURN)}


def test_facts_that_do_not_fit_are_used_for_nothing():
    machine = Machine({"cpus": "many"})
    result = run(machine)
    assert machine.modules() == [FACTS]
    assert result["failed"] is True
    assert "ansible_facts.conntrack.cpus: expected a whole number" in result["msg"]


def test_options_are_those_of_the_policy():
    options = yaml.safe_load(documented.DOCUMENTATION)["options"]
    assert options.pop("plan_only")["default"] is False
    assert {name: option.get("default") for name, option in options.items()} == Policy()._asdict()
