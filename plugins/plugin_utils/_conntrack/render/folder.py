# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that forms are rendered into (render_to): what is to be in it, and whether there is room for that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError, problem
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import (
    cloud_init,
    container,
    ignition,
    kickstart,
    machine,
    preseed,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import (
    PLAIN,
    RUNNABLE,
    File,
    Form,
    Model,
    model,
)

VARIABLE = "render_to"
FORMS: dict[str, tuple[Form, str]] = {
    "apply.sh": (lambda model: model.script, RUNNABLE),
    "user-data": (cloud_init.user_data, PLAIN),
    "kickstart.ks": (kickstart.kickstart, PLAIN),
    "preseed.cfg": (preseed.preseed, PLAIN),
    "ignition.json": (ignition.ignition, PLAIN),
    "Containerfile": (container.containerfile, PLAIN),
    "kargs.d/10-headroom-netfilter.toml": (container.kargs, PLAIN),
}
# All that there may be of a rendering.
EVERY = (*FORMS, *("tree" + path for path in files.MANAGED + files.BOOT))


def as_asked(variables: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """All that the filter render answers."""
    # Looked up one by one: a host's variables are many, and each is templated when it is read.
    given = {name: variables[name] for name in (f"conntrack_{field}" for field in Policy._fields) if name in variables}
    problems: list[str] = []
    found = [
        _tried(reader, problems)
        for reader in (
            lambda: read(given),
            lambda: machine.read(asked.get(machine.VARIABLE)),
            lambda: place(asked.get(VARIABLE)),
        )
    ]
    made = None if problems else _tried(lambda: model(*found[:2]), problems)
    if made is None:
        return {"refusals": problems, "said": [], "folders": [], "files": [], "absent": []}
    folder, wanted = found[2], contents(made)
    files_of = [
        {"path": file.path, "dest": os.path.join(folder, file.path), "content": file.text, "mode": file.mode}
        for file in wanted
    ]
    return {
        "refusals": [],
        "said": said(made),
        "folders": sorted({os.path.dirname(file["dest"]) for file in files_of}),
        "files": files_of,
        "absent": [os.path.join(folder, path) for path in left_over(folder, wanted)],
    }


def _tried(reader: Callable[[], Any], problems: list[str]) -> Any:
    try:
        return reader()
    except PolicyError as error:
        problems += error.problems
        return None


def said(made: Model) -> list[str]:
    plan = made.plan
    if plan.sized_at_boot:
        return ["limit and buckets: by each machine itself, of its memory", *plan.warnings]
    numbers = (("limit", plan.max, "max"), ("buckets", plan.buckets, "buckets"))
    return [f"{word} {number}: {plan.reasons[name]}" for word, number, name in numbers] + plan.warnings


def contents(model: Model) -> list[File]:
    """What is to be in the folder, by relative path."""
    made = [File(name, form(model) or "", mode) for name, (form, mode) in FORMS.items()]
    return [file for file in made if file.text] + [file._replace(path="tree" + file.path) for file in model.files]


def place(value: Any) -> str:
    """The folder that a user names, as an absolute path. Raises PolicyError."""
    name = str.__str__(value) if isinstance(value, str) else ""
    if not name.strip() or not name.isprintable():
        raise PolicyError([problem(VARIABLE, value, "expected the name of a folder that what is rendered goes to")])
    folder = os.path.abspath(os.path.expanduser(name))
    wrong = [problem(VARIABLE, value, said) for said in _obstacles(folder)]
    if wrong:
        raise PolicyError(wrong)
    return folder


def left_over(folder: str, wanted: list[File]) -> list[str]:
    """What an earlier rendering had and this one has not."""
    kept = {file.path for file in wanted}
    return [path for path in EVERY if path not in kept and os.path.lexists(os.path.join(folder, path))]


def _obstacles(folder: str) -> Iterator[str]:
    """What stands there and is none of ours: it would be written over, or through."""
    if os.path.lexists(folder) and not os.path.isdir(folder):
        yield f"{folder} is no folder; name another"
        return
    for path in _folders(EVERY):
        there = os.path.join(folder, path)
        if os.path.islink(there) or (os.path.exists(there) and not os.path.isdir(there)):
            yield f"{there} is no folder; take it away, or name another folder"
    for path in EVERY:
        there = os.path.join(folder, path)
        if os.path.lexists(there) and not _is_ours(there):
            yield f"{there} is there and not of a rendering; take it away, or name another folder"


def _folders(paths: Iterable[str]) -> list[str]:
    """Those that they lie in, from the top down."""
    return sorted({path[:place] for path in paths for place, letter in enumerate(path) if letter == "/"})


def _is_ours(path: str) -> bool:
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as opened:
            return files.MARK.encode() in opened.read(2**20)
    except OSError:
        return False
