# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking out of a kernel that nobody needs it in, and kept out; and back as it was."""

import contextlib
import re
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional

from .. import kernel
from ..change import perform, rollback
from ..change.alone import Answer
from ..change.diff import diff
from ..change.failure import ChangeError
from ..change.perform import Found, Order, Work
from ..change.request import LONGEST_WAIT, Asked, FileAsked, LineAsked
from ..change.writes import Write, writes
from ..facts.gather import gather
from ..files import UNLOAD
from ..host.writing import WritableHost
from ..journal import store
from ..journal.heads import DONE
from ..journal.record import Step
from ..stack import keep, order
from ..stack.needs import Need, needs
from ..values import Facts

WHAT = "conntrack_unload"
UNLOADED, RESTORED = "unloaded", "restored"
# As ``nft list hooks`` has them, of kernels that tell (5.14 and later).
_NFT = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
_HOOK = re.compile(r"[-+][0-9]+ (ipv[46]_conntrack_(?:in|local))\b")


class Options(NamedTuple):
    state: str = UNLOADED
    confirm: Optional[str] = None
    confirm_seconds: int = 0
    id: Optional[str] = None
    who: str = ""
    lock_seconds: int = 60


def run(host: WritableHost, options: Options, check: bool = False) -> Answer:
    """What the module conntrack_unload answers. Raises ChangeError."""
    if not host.is_root():
        raise ChangeError("root is needed to see who needs connection tracking, and to unload it; run with become")
    if not 0 <= options.lock_seconds <= LONGEST_WAIT:
        raise ChangeError(
            "lock_seconds: {0} will not do; expected 0 to {1} seconds".format(options.lock_seconds, LONGEST_WAIT)
        )
    if options.confirm:
        return perform.confirm(host, options.confirm, options.lock_seconds, options.who, check)
    if options.state == RESTORED:
        return _restored(host, options, check)
    asked = Order(options.id, options.who, WHAT, options.lock_seconds, options.confirm_seconds)
    return perform.run(host, asked, partial(_look, host), check)


def _look(host: WritableHost) -> Found:
    facts = gather(host, ["persistence"])
    if not facts["kernel"]["init_netns"]:
        raise ChangeError("this is not the first network namespace, and the kernel is the host's; run there")
    module, state = kernel.FLAVOURS[facts["flavour"]].module, facts["state"]
    stack = order.standing(host)
    found = needs(host, stack, state == "builtin")
    early = facts["assignments"]["early"] if state in ("loaded", "loadable") else []
    if found:
        raise ChangeError(
            "refused, since connection tracking is needed here: " + "; ".join(map(_said, found)), needed_by=_told(found)
        )
    names = [one.name for one in stack]
    work = Work([], [], [])
    if state in ("loaded", "loadable"):
        work = Work(_writes(host, module, early), [], _steps(host, names))
    answer = dict(
        _empty(facts["state"]),
        hooks=_hooks(host) if state == "builtin" else None,
        modules=names,
        diff=diff(work.writes, {}, {}) + _listed(names),
    )
    return Found(work, answer, partial(_proved, host, module))


def _empty(state: str) -> Answer:
    kind = "module" if state in ("loaded", "loadable") else state
    return {"kernel": kind, "modules": [], "hooks": None, "restored": [], "not_restored": [], "diff": []}


def _said(need: Need) -> str:
    return "{0} {1}: {2} ({3})".format(need.kind, need.where, need.text, need.remedy)


def _told(found: List[Need]) -> List[Dict[str, Any]]:
    return [dict(need._asdict()) for need in found]


def _writes(host: WritableHost, module: str, early: List[Dict[str, Any]]) -> List[Write]:
    nobodys = keep.elsewhere(early)
    if nobodys:
        one = nobodys[0]
        raise ChangeError(
            "{0}, line {1}: has {2} loaded at each boot, and is not a file of /etc; a link to /dev/null of that name in "
            "/etc/modules-load.d masks it, a word of the kernel's command line is its loader's".format(
                one["path"], one["line"], one["module"]
            )
        )
    files = [FileAsked(UNLOAD, keep.TEXT.format(module), None)]
    lines = [LineAsked(one.path, one.found, one.wanted) for one in keep.lines(host, early)]
    return writes(host, Asked(files=tuple(files), lines=tuple(lines)))


def _steps(host: WritableHost, names: List[str]) -> List[Step]:
    if not names:
        return []
    return [Step("modules", "modules " + ", ".join(names), order.state(host), {"modules": [], "values": []})]


def _listed(names: List[str]) -> List[Dict[str, str]]:
    if not names:
        return []
    text = "".join(name + "\n" for name in names)
    return [{"before": text, "after": "", "before_header": "loaded modules", "after_header": "loaded modules"}]


def _proved(host: WritableHost, module: str) -> Answer:
    """By what a load comes to, and no file's word."""
    left = [one.name for one in order.standing(host)]
    if left:
        raise ChangeError("not as planned after the change: still loaded: {0}".format(", ".join(left)))
    with contextlib.suppress(OSError):
        host.command(["modprobe", module])
    if host.exists("/sys/module/" + module):
        raise ChangeError(
            "not as planned after the change: modprobe loads {0} all the same: another line of modprobe.d goes before {1}".format(
                module, UNLOAD
            )
        )
    return {}


def _hooks(host: WritableHost) -> Optional[List[str]]:
    """Those by which packets are tracked, in this network namespace; None where nobody tells."""
    nft = next((path for path in _NFT if host.is_executable(path)), None)
    text = host.run([nft, "list", "hooks"], 65536) if nft else None
    return None if text is None or "hook" not in text else sorted(set(_HOOK.findall(text)))


def _restored(host: WritableHost, options: Options, check: bool) -> Answer:
    """The change by which it was unloaded is taken back, and no other."""
    stored = store.changes(host)
    states = store.states(stored)
    ours = [one.id for one in stored if one.change and one.change.what == WHAT and states[one.id] != "undone"]
    state = _facts(host)["state"]
    if not ours:
        return dict(_empty(state), changed=False, id=None, state="none")
    said = rollback.run(host, ours[-1], options.lock_seconds, options.who, check, only=True)
    done = DONE if said["changed"] and not check else "none"
    names = [one.name for one in order.standing(host)]
    return dict(
        _empty(_facts(host)["state"]),
        modules=names,
        state=done,
        **{name: said[name] for name in ("changed", "id", "restored", "not_restored", "diff")},
    )


def _facts(host: WritableHost) -> Facts:
    return gather(host, ["min"])
