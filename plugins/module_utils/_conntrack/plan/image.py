# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that is being built: what is read beside its files is its builder's, and vetoes nothing. Pure."""

from ..values import Facts


def of_an_image(facts: Facts) -> Facts:
    """``facts`` without what belongs to the builder: its table, memory, programs, namespaces and cloud, and that its kernel has
    conntrack built in, or none. What is left are the files, and the page and pointer that buckets are rounded by."""
    kernel = dict(
        facts["kernel"],
        init_netns=True,
        container=None,
        nat=False,
        writable=dict.fromkeys(facts["kernel"]["writable"], False),
        hz=None,
    )
    return dict(
        facts,
        state="loadable",
        flavour="nf_conntrack",
        kernel=kernel,
        memory=dict.fromkeys(facts["memory"]),
        table=dict.fromkeys(facts.get("table") or {}),
        timeouts={},
        switches={},
        cloud=[],
        owners=[owner for owner in facts.get("owners") or () if owner["path"]],
        untold=[],
    )
