# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values whose texts are no templates, wherever they are kept and looked up.

ansible-core before 2.19 takes every text for a template that is not marked; what a filter makes of marked ones is not. Later it
is the other way round.
"""

from __future__ import annotations

from typing import Any

try:
    from ansible.template import trust_as_template as _trusts_by_mark
except ImportError:
    _trusts_by_mark = None


def untrusted(value: Any) -> Any:
    if _trusts_by_mark is not None:
        return value
    from ansible.utils.unsafe_proxy import wrap_var

    return wrap_var(value)
