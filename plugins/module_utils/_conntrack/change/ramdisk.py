# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The initial RAM disk of the kernel that runs, made anew by the program that the host has for it."""

from typing import List

from ..host.writing import WritableHost
from ..journal.record import Step
from ..outcome.ramdisk import renewal, tool
from ..sources.tracking import release
from .failure import ChangeError

# Seconds. Half a minute is usual; a slow disk and a slow processor take several.
LONGEST = 1200.0
# Bytes. What writes more is ended.
_OUTPUT = 16 * 1024 * 1024
# The programs are scripts, which look for others. Where there is no env, no host has a script.
_ENVIRONMENT = ["/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]


def command(host: WritableHost) -> List[str]:
    """Nothing where no program for it is known."""
    made_by = tool(host)
    return renewal(made_by, release(host)) if made_by else []


def step(host: WritableHost) -> Step:
    """Of a change: made of the files as they are then, or again of those that are given back."""
    words = command(host)
    if not words:
        raise ChangeError(
            "initramfs: neither update-initramfs nor dracut nor mkinitcpio is there, so that the initial RAM disk cannot be renewed; "
            "leave it (conntrack_initramfs) unset"
        )
    if not host.is_root():
        raise ChangeError("root is needed to renew the initial RAM disk; run with become")
    return Step("ramdisk", "the initial RAM disk, with " + " ".join(words), "of the files before", "of the files after")


def renew(host: WritableHost) -> None:
    """Raises ChangeError."""
    words = command(host)
    if not words:
        raise ChangeError("no program to renew it is there any more")
    if host.run(_ENVIRONMENT + words, _OUTPUT, LONGEST) is None:
        raise ChangeError(
            "{0} failed, or was not done in {1:.0f} s: run it by hand to see why, before the next boot".format(
                " ".join(words), LONGEST
            )
        )
