# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked for of a report, and its files on the controller: read, and written each whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import yaml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError, problem
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import accept, between, remedies
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_csv import as_csv
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_html import as_html
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_junit import as_junit
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_markdown import as_markdown

FORMS: dict[str, Callable[[model.Report], str]] = {
    "report.json": model.as_json,
    "report.csv": as_csv,
    "report.md": as_markdown,
    "report.xml": as_junit,
    "report.html": as_html,
}
# Characters of a file that a difference shows.
_LONGEST_SHOWN = 20000

# The options, and the variable of the playbooks that each comes from.
VARIABLES = {
    "path": "audit_report",
    "baseline": "audit_baseline",
    "accept": "audit_accept",
    "remedies": "audit_remedies",
    "merge": "merge_reports",
}


class Asked(NamedTuple):
    path: str = ""  # folders, of the report and of the remedies
    remedies: str = ""
    baseline: model.Report | None = None
    accept: list[accept.Acceptance] | None = None
    merge: list[model.Report] | None = None


def read(options: Mapping[str, Any]) -> Asked:
    """Raises PolicyError, with a sentence for each thing that will not do. None and the empty string are unset."""
    problems: list[str] = []
    found: dict[str, Any] = {}
    for option, reader in _READERS.items():
        value = options.get(option)
        if value is None or value == "":
            continue
        try:
            found[option] = reader(VARIABLES[option], value)
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(problems)
    return Asked(**found)


def _path(variable: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise PolicyError([problem(variable, value, "expected a path on the controller")])
    return os.path.abspath(os.path.expanduser(str.__str__(value)))


def _folder(variable: str, value: Any) -> str:
    path = _path(variable, value)
    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above) or not os.access(above, os.W_OK):
        raise PolicyError([problem(variable, value, f"expected a folder to write into, and {above} is none")])
    return path


def _text(variable: str, value: Any) -> tuple[str, str]:
    path = _path(variable, value)
    try:
        with open(path, encoding="utf-8") as opened:
            return path, opened.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise PolicyError([problem(variable, value, f"expected a file that can be read: {why}")]) from None


def _report(variable: str, value: Any) -> model.Report:
    return between.read(variable, *_text(variable, value))


def _reports(variable: str, value: Any) -> list[model.Report]:
    """With commas between them on a command line."""
    paths = [path for path in value.split(",") if path] if isinstance(value, str) else value
    if not isinstance(paths, list) or not paths:
        raise PolicyError([problem(variable, value, "expected a list of files, each a report.json")])
    return [_report(variable, path) for path in paths]


def _accept(variable: str, value: Any) -> list[accept.Acceptance]:
    path, text = _text(variable, value)
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PolicyError([problem(variable, path, f"expected YAML: {' '.join(str(error).split())}")]) from None
    return accept.read(said)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "path": _folder,
    "remedies": _folder,
    "baseline": _report,
    "accept": _accept,
    "merge": _reports,
}


def finished(asked: Asked, report: model.Report) -> model.Report:
    """With what is accepted, and compared with what was."""
    if asked.accept is not None:
        report = accept.accept(report, asked.accept)
    return between.since(asked.baseline, report) if asked.baseline else report


def files(asked: Asked, report: model.Report) -> Iterator[tuple[str, str | None]]:
    """Paths and what each is to say; None where it is to be gone."""
    if asked.path:
        for name, form in FORMS.items():
            yield os.path.join(asked.path, name), form(report)
    if asked.remedies:
        said = remedies.files(report, asked.remedies)
        for name in remedies.names():
            path = os.path.join(asked.remedies, name)
            if name in said or _is_ours(path):
                yield path, said.get(name)


def _is_ours(path: str) -> bool:
    """Of a finding that was cured since: the variables say so, and the hosts go with them."""
    try:
        with open(os.path.splitext(path)[0] + ".yml", encoding="utf-8") as opened:
            return os.path.lexists(path) and opened.readline().rstrip("\n") == remedies.MARK
    except (OSError, UnicodeDecodeError):
        return False


def write(wanted: Iterable[tuple[str, str | None]], check: bool) -> list[dict[str, str]]:
    """Writes what differs, or in check mode only tells it: a difference for each. Raises OSError."""
    told = []
    for path, text in wanted:
        found = _found(path)
        if found == text:
            continue
        told.append(
            {
                "before_header": path,
                "after_header": path,
                "before": _shown(found),
                "after": _shown(text),
            }
        )
        if check:
            continue
        if text is None:
            os.unlink(path)
        else:
            _replace(path, text)
    return told


def _found(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as opened:
            return opened.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""


def _shown(text: str | None) -> str:
    if text is None:
        return ""
    return text if len(text) <= _LONGEST_SHOWN else f"({len(text)} characters)\n"


def _replace(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "x", encoding="utf-8", newline="") as opened:
            opened.write(text)
        os.replace(beside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)
