# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Archives of initial RAM disks, as cpio -H newc writes them."""

import stat


def archive(files, links=()):
    """``files``: text by path; ``links``: where each leads to."""
    entries = [(path, stat.S_IFREG | 0o644, text.encode("utf-8")) for path, text in files.items()]
    entries += [(path, stat.S_IFLNK | 0o777, target.encode("utf-8")) for path, target in dict(links).items()]
    return b"".join(_entry(*entry) for entry in [*entries, ("TRAILER!!!", 0, b"")])


def _entry(path, mode, content):
    name = path.encode("utf-8") + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _whole(head + name) + _whole(content)


def _whole(content):
    return content + b"\0" * (-len(content) % 4)
