# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The action conntrack_unload: what was made is confirmed over a connection that is opened anew, and only so."""

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.headroom.netfilter.plugins.action import conntrack_unload
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack import confirming

MADE = {
    "changed": True,
    "id": "one",
    "state": "unconfirmed",
    "kernel": "module",
    "modules": ["nf_conntrack"],
    "hooks": None,
    "restored": [],
    "not_restored": [],
}
KEPT = dict(MADE, state="kept", changed=False)
LOST = AnsibleConnectionFailure("gone")


class Action(conntrack_unload.ActionModule):
    """The action, where ansible-core would send a module to a host; answers are used up."""

    def __init__(self, answers, **args):
        task = SimpleNamespace(
            args=args,
            check_mode=False,
            async_val=0,
            delegate_to=None,
            action="headroom.netfilter.conntrack_unload",
            diff=True,
        )
        self.answers, self.done = list(answers), []
        connection = SimpleNamespace(
            reset=lambda: self.done.append("reset"), _shell=SimpleNamespace(tmpdir="/tmp/x"), has_pipelining=True
        )
        super().__init__(task, connection, SimpleNamespace(), None, Templar(loader=DataLoader()), None)

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, **_more):
        self.done.append(dict(module_args))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def result(self):
        return self.run(task_vars={"inventory_hostname": "a", "ansible_play_name": "Unload"})


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(confirming, "WAITS", (0, 0, 0))
    monkeypatch.setattr(confirming, "PAUSE", 0)


def test_confirmed_over_a_new_connection():
    action = Action([MADE, KEPT], confirm_seconds=60)
    result = action.result()
    assert (result["changed"], result["state"], result["modules"]) == (True, "kept", ["nf_conntrack"])
    made, reset, confirmed = action.done
    assert (made["confirm_seconds"], reset) == (60, "reset")
    assert made["id"]
    assert "play Unload" in made["who"]
    assert confirmed == {"confirm": "one", "who": made["who"]}


@pytest.mark.parametrize("answer", [dict(MADE, state="none", changed=False), KEPT], ids=["none", "kept"])
def test_nothing_else_is_confirmed(answer):
    action = Action([answer], confirm_seconds=60)
    assert action.result()["state"] == answer["state"]
    assert len(action.done) == 1


def test_who_confirms_by_hand_is_not_helped():
    action = Action([KEPT], confirm="one")
    assert action.result()["state"] == "kept"
    assert [one["confirm"] for one in action.done] == ["one"]


def test_a_connection_that_comes_late_is_waited_for():
    action = Action([MADE, LOST, LOST, KEPT], confirm_seconds=60)
    assert action.result()["state"] == "kept"
    assert action.done.count("reset") == 3


def test_none_that_comes_through_is_told():
    action = Action([MADE, LOST], confirm_seconds=0.2)
    with pytest.raises(AnsibleConnectionFailure, match="gone -- no new connection came through after change one"):
        action.result()


def test_an_answer_that_was_lost_is_asked_for_by_the_same_id():
    action = Action([LOST, MADE, KEPT], confirm_seconds=60)
    assert action.result()["state"] == "kept"
    first, _reset, second = action.done[:3]
    assert first["id"] == second["id"]


def test_one_that_was_undone_meanwhile_has_failed():
    action = Action(
        [MADE, {"failed": True, "msg": "confirm: one is undone, not unconfirmed", "id": "one"}], confirm_seconds=60
    )
    result = action.result()
    assert (result["failed"], result["msg"]) == (True, "confirm: one is undone, not unconfirmed")
