# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a Containerfile, and arguments of the kernel for bootc: nothing of them runs on the machine that boots. Pure."""

from __future__ import annotations

import json

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import HEADER
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import Model

_KARGS = "kargs.d/10-headroom-netfilter.toml"
_TEXT = """\
{header}
# Written by the playbook headroom.netfilter.render. Build it in its folder, or copy its COPY lines into another one.
ARG BASE
FROM ${{BASE}}
{copies}"""
_COPY = "COPY --chown=0:0 --chmod={mode} {source} {target}\n"


def containerfile(model: Model) -> str:
    copies = [_COPY.format(mode=file.mode, source="tree" + file.path, target=file.path) for file in model.files]
    if model.arguments:
        copies.append(_COPY.format(mode="0644", source=_KARGS, target="/usr/lib/bootc/" + _KARGS))
    return _TEXT.format(header=HEADER, copies="".join(copies))


def kargs(model: Model) -> str | None:
    """They say the buckets before there is any file."""
    return f"{HEADER}\nkargs = {json.dumps(model.arguments)}\n" if model.arguments else None
