# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Ways out of a refusal: only those are said that would do."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.ways import (
    Notice,
    told,
    values,
    way,
)


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ((), "it is so"),
        ((way("do this"),), "it is so; do this"),
        ((way("do this"), way("do that")), "it is so; do this, or do that"),
        ((way("do this"), way("do that"), way("nothing")), "it is so; do this, do that, or nothing"),
        ((way("set it", max=7), way("do that")), "it is so; do that"),
        ((values("name {0}", "max", 7, 8), way("do that")), "it is so; name 8, or do that"),
        ((values("name {0}", "max", 8, 10), way("do that")), "it is so; name 8, or do that"),
        ((values("name {0}", "max", 7, 9),), "it is so"),
    ],
)
def test_what_would_do_is_said(ways, said):
    assert told(Notice("max", "it is so", ways), lambda _notice, fields: fields["max"] % 2 == 0) == said
