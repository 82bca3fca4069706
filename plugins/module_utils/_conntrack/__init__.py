# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts and the controller have in common.

A host gets it as a zip file of sources. Of these, Python compiles each file to tell its name, and once more to run it, which is half of
what a module of this collection costs a host. So the second half is left out, before anything else is imported from there.
"""

import os
import sys
import zipimport


class Importer(zipimport.zipimporter):
    """As Python's own, but tells a file's name by where it lies."""

    def get_filename(self, fullname):
        # type: (str) -> str
        path = os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2])
        return os.path.join(path, "__init__.py") if self.is_package(fullname) else path + ".py"


if isinstance(globals().get("__loader__"), zipimport.zipimporter):
    sys.path_hooks.insert(0, Importer)
    for known in [
        path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimport.zipimporter)
    ]:
        del sys.path_importer_cache[known]
