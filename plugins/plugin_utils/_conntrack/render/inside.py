# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script inside of another text: packed, so that nothing in it means anything there. Pure."""

from __future__ import annotations

import base64
import textwrap
import zlib

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.model import SCRIPT, Model

# Letters, digits, +, / and = alone follow, which no shell, no YAML and no installer takes for anything else.
_INSTALL = """\
set -e
umask 022
mkdir -p {folder}
base64 -d <<END | gzip -dc >{path}.new
{packed}
END
chmod 0755 {path}.new
mv -f {path}.new {path}
{path}{options}
"""


def packed(text: str) -> str:
    """As base64 of gzip, without a time: the same for the same text."""
    packer = zlib.compressobj(9, wbits=31)
    return base64.b64encode(packer.compress(text.encode("utf-8")) + packer.flush()).decode("ascii")


def installing(model: Model, *options: str) -> str:
    """Lines of shell that put the script on a host and call it. They hold no quotes."""
    return _INSTALL.format(
        folder=SCRIPT.rpartition("/")[0],
        path=SCRIPT,
        packed="\n".join(textwrap.wrap(packed(model.script), 76)),
        options="".join(" " + option for option in options),
    )
