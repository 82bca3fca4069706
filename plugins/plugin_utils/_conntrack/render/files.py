# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's templates, rendered by jinja2 itself: Ansible's templar is not asked, and no text of a host comes near them."""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files, kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import SYSTEMD_SYSCTL
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import found

TEMPLATES = Path(__file__).parents[4] / "roles/conntrack/templates"

# Constant, so that no setting of Ansible's moves a file.
HEADER = f"# Managed by {files.MARK}."

UNIT = files.UNIT.rpartition("/")[2]
# What sizes at a boot is script.py's.
TEMPLATED = tuple(path for path in files.MANAGED + files.BOOT if path != files.SIZER)

KEYS = frozenset(
    flavour.prefix + name
    for flavour in kernel.FLAVOURS.values()
    for name in ("max", "buckets", "expect_max", *map(kernel.timeout_key, kernel.TIMEOUTS), *kernel.SWITCHES)
)


class RenderError(Exception):
    """A value that has no place in a file."""


def rendered(plan: Plan) -> dict[str, str]:
    """What each of the plan's files is to say, by path. Raises RenderError."""
    values: dict[str, Any] = {"header": HEADER, "sysctl": {}}
    for key, value in plan.sysctl.items():
        values["sysctl"][_known("sysctl", key, KEYS)] = _whole(key, value)
    values["module"] = _module(values["sysctl"])
    if files.SIZER in plan.files:
        values.update(sizer=files.SIZER, unit=UNIT)
    # What the plan does not have is left undefined: a template that wants it fails.
    if plan.hashsize is not None and not plan.sized_at_boot:
        values["hashsize"] = _whole("hashsize", plan.hashsize)
    if plan.systemd_sysctl is not None:
        values["systemd_sysctl"] = _known("systemd_sysctl", plan.systemd_sysctl, SYSTEMD_SYSCTL)
    return {
        path: _template(_known("files", path, TEMPLATED)).render(values) for path in plan.files if path != files.SIZER
    }


def sketched(path: str, **words: Any) -> str:
    """A file with words in place of its values, for what fills them in on a host."""
    return str(_template(path).render(header=HEADER, **words))


def prepare() -> None:
    """Read the templates before the workers of a task are forked: each would do it anew."""
    for path in TEMPLATED:
        _template(path)


def _module(keys: Collection[str]) -> str:
    """The one that has these keys."""
    old = kernel.FLAVOURS["ip_conntrack"]
    return old.module if any(key.startswith(old.prefix) for key in keys) else kernel.FLAVOURS["nf_conntrack"].module


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RenderError(f"{name}: expected a whole number, found {found(value)}")
    return int(value)


def _known(name: str, value: Any, known: Collection[str]) -> str:
    text = str.__str__(value) if isinstance(value, str) else ""
    if text not in known:
        raise RenderError(f"{name}: expected one that this collection writes, found {found(value)}")
    return text


@functools.cache
def _template(path: str) -> Any:
    return _environment().get_template(path.lstrip("/") + ".j2")


@functools.cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
