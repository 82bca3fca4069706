# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration of Ignition, of version 3.3: the files, written before the first boot of the system itself. Pure."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.inside import packed
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import File, Model

# Characters of a text that is shown as it is; a longer one is nobody's to read there.
_LONGEST = 4096


def ignition(model: Model) -> str:
    config = {"ignition": {"version": "3.3.0"}, "storage": {"files": [_file(file) for file in model.files]}}
    return json.dumps(config, indent=2) + "\n"


def _file(file: File) -> dict[str, Any]:
    contents = {"source": "data:," + quote(file.text, safe="/=,:")}
    if len(file.text) > _LONGEST:
        contents = {"source": "data:;base64," + packed(file.text), "compression": "gzip"}
    return {"path": file.path, "mode": int(file.mode, 8), "overwrite": True, "contents": contents}
