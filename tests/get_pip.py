# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Stands in for the get-pip script that ansible-test would download: the pip that comes with the Python will do.

Run by ansible-test in an empty virtual environment of any Python, with what get-pip is to install.
"""

import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip"])
# Not another pip, and not get-pip's own options, which pip does not have.
wanted = [argument for argument in sys.argv[1:] if not argument.startswith(("pip==", "--no-setuptools", "--no-wheel"))]
if not all(argument.startswith("-") for argument in wanted):
    subprocess.check_call([sys.executable, "-m", "pip", "install"] + wanted)
