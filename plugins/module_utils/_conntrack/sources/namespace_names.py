# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network namespace is called: by ip netns, by its container, or by its process."""

import re
from typing import Optional

from ..host.door import Host

# Where there is no /run, too; where there is, this is a link to it.
IP_NETNS = "/var/run/netns"
# Names that a program made up: what is in the namespace says more.
_MADE_UP = re.compile(r"(cni|netns)-[0-9a-f-]{36}")
# .../kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice/..., .../kubepods/burstable/pod2c48913c-.../...
_POD = re.compile(r"[/-]pod([0-9a-f]{8})[-_]?([0-9a-f]{4})[0-9a-f_-]{20}")
# /docker/ID, /system.slice/docker-ID.scope, .../cri-containerd-ID.scope, .../libpod-ID.scope/container
_CONTAINER = re.compile(r"/([a-z][a-z-]{0,30})[/-]([0-9a-f]{12})[0-9a-f]{52}\b")
_LXC = re.compile(r"/(lxc)(?:\.payload\.|/)([A-Za-z0-9_.-]{1,64})")


def name_of(host: Host, process: Optional[str], mount: Optional[str]) -> str:
    """What its manager calls it, or whose it is."""
    folder, _slash, name = (mount or "").rpartition("/")
    # Names may be any bytes.
    name = name.encode("utf-8", "replace").decode("utf-8")
    if folder == IP_NETNS and not _MADE_UP.fullmatch(name):
        return name
    container = container_name(host.read("/proc/{0}/cgroup".format(process))) if process else None
    if container:
        return container
    if process and (folder != IP_NETNS):
        return "pid {0} ({1})".format(process, (host.read("/proc/{0}/comm".format(process)) or "").strip())
    return name if folder == IP_NETNS else "docker netns " + name


def container_name(cgroup: Optional[str]) -> Optional[str]:
    """Kind and the first 12 digits of what /proc/PID/cgroup tells of: docker 0123456789ab, pod 2c48913c-b29f, lxc web."""
    pod = _POD.search(cgroup or "")
    if pod:
        return "pod {0}-{1}".format(*pod.groups())
    container = _CONTAINER.search(cgroup or "") or _LXC.search(cgroup or "")
    return "{0} {1}".format(*container.groups()) if container else None
