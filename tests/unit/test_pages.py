# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Pages that a command of the tree makes are what it makes now."""

import os
import subprocess
import sys

import pytest

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="tools are for the controller's Pythons")
def test_the_page_of_timeouts_says_what_the_profiles_say():
    made = subprocess.check_output([sys.executable, os.path.join(HOME, "tools", "timeouts.py")]).decode("utf-8")
    with open(os.path.join(HOME, "docs", "timeouts.md"), encoding="utf-8") as page:
        assert page.read() == made
