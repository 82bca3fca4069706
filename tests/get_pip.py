# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Stands in for the get-pip script that ansible-test would download: pip comes from the Python itself.

Run by ansible-test in an empty virtual environment of any Python, with what get-pip is to install.
"""

import subprocess
import sys

# get-pip's own options; pip has none of that name.
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install"] + wanted)
