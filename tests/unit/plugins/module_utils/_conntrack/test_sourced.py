# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a file sets that a shell reads in; tests/integration/test_services_oracle.py compares it with bash."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sourced import last, settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("X=yes", [(1, "yes", True, True)]),
        ('\n# a\n\t X="yes" # so\n', [(3, "yes", True, True)]),
        ("X='y'e\\s\nexport X=no\ndeclare -x X=", [(1, "yes", True, True), (2, "no", True, True), (3, "", True, True)]),
        ("A=1; X=yes", [(1, "yes", True, False)]),
        ("A=1 X=yes && B=2", [(1, "yes", True, False)]),
        ("X=yes >/dev/null", [(1, "yes", True, True)]),
        ("A='\nX=no\n'\nX=yes", [(4, "yes", True, True)]),
        ("X='\n'", [(1, "\n", True, False)]),
        ("X=ye\\\ns", [(1, "yes", True, False)]),
        ("X=a#b", [(1, "a#b", True, True)]),
        ('X="a\\"\\$b\\c"', [(1, 'a"$b\\c', True, True)]),
        ("X=$Y", [(1, "$Y", False, True)]),
        ('X="${Y:-no}"', [(1, '"${Y:-no}"', False, True)]),
        ("X=$(a; b)", [(1, "$(a; b)", False, True)]),
        ("X=`a`", [(1, "`a`", False, True)]),
        ("X=no\r", [(1, "no\r", True, True)]),
        # Nothing is set.
        ("", []),
        ("X = yes", []),
        ("XY=yes\nAX=yes\nx=yes\n-A X=yes", []),
        ("X=yes make", []),
        ("make X=yes", []),
        ("#X=yes", []),
        ("X=yes | tee", []),
        ("true | X=yes", []),
        ("X=yes &", []),
        ("(X=yes)", []),
        ("(\nX=yes\n)", []),
        # The shell gives up here, and does nothing of that line.
        ("X=a\nX=b; A='\nX=c", [(1, "a", True, True)]),
        ("X=a\nX=b )\nX=c", [(1, "a", True, True)]),
        ("X=a\n(\nX=c", [(1, "a", True, True)]),
    ],
    ids=repr,
)
def test_settings(text, found):
    assert settings(text, "X") == found
    assert last(text, "X") == (found[-1] if found else None)


def test_none_of_no_file():
    assert last(None, "X") is None
