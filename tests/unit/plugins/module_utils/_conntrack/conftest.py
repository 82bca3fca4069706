# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the tests of changes share."""

import os
import pathlib
import shutil
import tempfile

import pytest


@pytest.fixture
def memory(tmp_path):
    """A folder in memory, where there is one: some thousand calls wait for a disk otherwise."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = tempfile.mkdtemp(prefix="changes-", dir="/dev/shm")
    yield pathlib.Path(folder)
    shutil.rmtree(folder)
