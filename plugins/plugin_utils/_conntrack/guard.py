# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host answers, on its way to the controller: what a module may answer is handed on, and nothing else.

Ansible takes more from a result than what a module is for: variables of the host, new hosts, warnings that it prints. So each
module of this collection is reached through an action of its name. An answer that does not fit fails its host alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.json_utils import _filter_non_json_lines
from ansible.plugins.action import ActionBase

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import wants_machine
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import Answer
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import (
    CUT,
    Misfit,
    Record,
    Text,
    Truth,
    Whole,
    found,
)

# Characters of a message, and of what a module that crashed has left.
LONGEST_MESSAGE = 2000
LONGEST_OUTPUT = 8000
MOST_WARNINGS = 20

# ansible-core's own facts, which it asks for again where they are not there.
_DISCOVERED = ("discovered_interpreter_", "ansible_discovered_interpreter_")
_INTERPRETER = Text(pattern="/[A-Za-z0-9_./+-]{1,300}")

_STATUS = Record({"changed": Truth(), "failed": Truth()}, optional=("changed", "failed"))


class Guard(ActionBase):  # type: ignore[misc]
    """Runs the module of its name, with the task's own options and keywords."""

    answer: Answer
    # Whether it can be asked of a tree, in place of a machine.
    reads_trees = False
    # The result would come through another action, which hands all of it on.
    _supports_async = False

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        tree = self._tree(task_vars or {})
        if tree and not self.reads_trees:
            return {"failed": True, "msg": wants_machine(tree)}
        super().run(tmp, task_vars)
        handed = self._handed(task_vars or {})
        facts = self._discovered()
        return {**handed, "ansible_facts": {**handed.get("ansible_facts", {}), **facts}} if facts else handed

    def _tree(self, task_vars: Mapping[str, Any]) -> str:
        """Of a host that is a folder's tree, the folder; nothing for a machine."""
        said = task_vars.get("conntrack_root")
        root = str(self._templar.template(said)) if said else "/"
        return "" if root in ("", "/", "None") else root

    def _handed(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        # Which answer it is may depend on what was asked.
        said = self._answered(task_vars)
        return handed_on(self.answer, said)

    def _answered(self, task_vars: dict[str, Any]) -> Any:
        return self._executed(f"headroom.netfilter.{self.answer.module}", self._task.args, task_vars)

    def _executed(self, name: str, options: Mapping[str, Any], task_vars: dict[str, Any]) -> Any:
        if not self._task.delegate_to and may_be_piped(self._connection, task_vars):
            self._connection.set_option("pipelining", True)
        with shown_escaped():
            return self._execute_module(module_name=name, module_args=dict(options), task_vars=task_vars)

    def _discovered(self) -> dict[str, str]:
        """The Python that ansible-core has found on the host for this task."""
        name, path = self._discovered_interpreter_key, self._discovered_interpreter
        try:
            return {name: _INTERPRETER(path)} if name else {}
        except Misfit:
            return {}

    def _parse_returned_data(self, res: Mapping[str, Any], *profile: Any) -> Any:
        # Before it hands an answer to its action, ansible-core decodes it, and prints some of what it takes away.
        return super()._parse_returned_data({**res, **sifted(self.answer, res)}, *profile)


def may_be_piped(connection: Any, task_vars: Mapping[str, Any]) -> bool:
    """Whether modules may go to a host by standard input though nobody has asked for it.

    It takes one command in place of five, and no room on the host, which may have none. ansible-core asks first, as sudo may want a
    terminal; without sudo there is no question. Who has said no is heard, in ansible.cfg, the environment or a host's variables, and
    a connection that is told to have a terminal, of which cores before 2.19 do not think.
    """
    hostvars = task_vars.get("hostvars")
    if hostvars is None or not hasattr(connection, "is_pipelining_enabled") or connection.become:
        return False
    # Of the task, ansible-core has filled in what nobody has said.
    said = hostvars.raw_get(task_vars["inventory_hostname"])
    try:
        _value, origin = C.config.get_config_value_and_origin(
            "pipelining", plugin_type="connection", plugin_name=connection._load_name, variables=dict(said)
        )
    except AnsibleError:
        return False
    return bool(origin == "default")


@contextlib.contextmanager
def shown_escaped() -> Iterator[None]:
    """What a host's shell said, ansible-core raises as it is."""
    try:
        yield
    except AnsibleConnectionFailure as error:
        raise AnsibleConnectionFailure(short(str(error))) from None
    except AnsibleError as error:
        raise AnsibleError(short(str(error))) from None


def sifted(answer: Answer, output: Mapping[str, Any]) -> dict[str, str]:
    """The output of a module with what may be handed on in place of its answer."""
    text = output.get("stdout") or ""
    errors = short(output.get("stderr") or "", LONGEST_OUTPUT)
    if len(text) > answer.longest:
        said = refused(answer, Misfit(f"at most {answer.longest} characters", f"{len(text)}"))
        return {"stdout": json.dumps(said), "stderr": errors}
    try:
        lines, warnings = _filter_non_json_lines(text, objects_only=True)
        said = json.loads(lines)
    except RecursionError:
        said = refused(answer, Misfit("less depth", "more than can be read"))
    except ValueError:
        # The module has crashed, or never run: ansible-core knows what to say.
        return {"stdout": short(text, LONGEST_OUTPUT), "stderr": errors}
    else:
        said = handed_on(answer, said)
        said["warnings"] = _warnings(warnings) + said.get("warnings", [])
    return {"stdout": json.dumps(said), "stderr": errors}


def handed_on(answer: Answer, said: Any) -> dict[str, Any]:
    """What the controller gets of an answer: all of it that was documented, or why the host has failed and what it has left."""
    try:
        checked = _checked(answer, said)
    except Misfit as misfit:
        return refused(answer, misfit)
    warnings = _warnings(said.get("warnings"))
    return {**checked, "warnings": warnings} if warnings else checked


def _checked(answer: Answer, said: Any) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise Misfit("a mapping", found(said))
    status = _STATUS({name: said[name] for name in ("changed", "failed") if name in said})
    message = {"msg": short(said["msg"])} if "msg" in said else {}
    if status.get("failed"):
        told = answer.failure({name: said[name] for name in answer.failure.fields if name in said})
        return {**status, "msg": "no message", **message, **told, **_left(said)}
    checked = {"changed": False, **status, **message}
    checked.update(answer.returned({name: said[name] for name in answer.returned.fields if name in said}))
    facts = said.get("ansible_facts", {})
    try:
        if isinstance(facts, Mapping):
            facts = {name: facts[name] for name in facts if not str(name).startswith(_DISCOVERED)}
        facts = answer.facts(facts)
    except Misfit as misfit:
        raise misfit.within("ansible_facts") from None
    if facts:
        checked["ansible_facts"] = facts
    if answer.diff and "diff" in said:
        try:
            checked["diff"] = answer.diff(said["diff"])
        except Misfit as misfit:
            raise misfit.within("diff") from None
    return checked


def _left(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a module that crashed has left."""
    left = {
        name: short(said[name], LONGEST_OUTPUT)
        for name in ("module_stdout", "module_stderr", "exception")
        if isinstance(said.get(name), str)
    }
    # As modules under ansible-core 2.19 and later have it.
    event = said["exception"].get("event") if isinstance(said.get("exception"), Mapping) else None
    if isinstance(event, Mapping) and isinstance(event.get("formatted_traceback"), str):
        left["exception"] = short(event["formatted_traceback"], LONGEST_OUTPUT)
    try:
        return {**left, "rc": Whole()(said["rc"])} if "rc" in said else left
    except Misfit:
        return left


def _warnings(said: Any) -> list[str]:
    """As texts. ansible-core 2.21 has made something else of them by the time they are handed on, and taken them already."""
    texts = []
    for warning in said[:MOST_WARNINGS] if isinstance(said, list) else ():
        event = warning.get("event") if isinstance(warning, Mapping) else None
        text = event.get("msg") if isinstance(event, Mapping) else warning
        if isinstance(text, str):
            texts.append(short(text))
    return texts


def refused(answer: Answer, misfit: Misfit) -> dict[str, Any]:
    return {
        "changed": False,
        "failed": True,
        "msg": (
            f"headroom.netfilter.{answer.module}: {misfit}. The module does not answer so. Either root of this host, or what stands "
            "between it and the controller, has changed the answer: look at its ansible_python_interpreter and at what that runs. "
            "Or it is a fault of the collection: report it with this message. Nothing of the answer was used."
        ),
    }


def short(value: Any, longest: int = LONGEST_MESSAGE) -> str:
    """The beginning and the end of a text, escaped but for the ends of its lines."""
    text = str.__str__(value).replace("\r\n", "\n") if isinstance(value, str) else found(value)
    if len(text) > longest:
        half = (longest - len(CUT)) // 2
        text = text[:half] + CUT + text[-half:]
    text = escaped(text, newlines=True)
    return text if len(text) <= longest else text[: longest - len(CUT)] + CUT
