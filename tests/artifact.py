# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Build the collection from a clean copy of this checkout, install the artifact, and look at what it holds.

usage: artifact.py DIRECTORY

Leaves in DIRECTORY, each made anew:
  tree/       the copy, at ansible_collections/headroom/netfilter: a git repository of what git tracks or would track
  artifact/   the tarball
  installed/  the tarball installed, at ansible_collections/headroom/netfilter
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PLACE = "ansible_collections/headroom/netfilter"
HOLDS = re.compile(
    r"(CHANGELOG\.md|COPYING|FILES\.json|MANIFEST\.json|README\.md)$|(changelogs|docs|meta|playbooks|plugins|roles)(/|$)"
    r"|extensions(/patterns(/|$)|$)"
)
NEVER_HOLDS = re.compile(r"(^|/)(\.[^/]*|__pycache__|tests?)(/|$)|\.(pyc|orig|rej|bak|swp)$")
MUST_HOLD = ("COPYING", "README.md", "meta/runtime.yml", "plugins", "roles", "playbooks", "extensions/patterns")


def main(directory: Path) -> str | None:
    for name in ("tree", "artifact", "installed"):
        shutil.rmtree(directory / name, ignore_errors=True)
    tree = directory / "tree" / PLACE
    copy(REPO, tree)
    galaxy("build", "--output-path", directory / "artifact", tree)
    (artifact,) = (directory / "artifact").glob("*.tar.gz")
    galaxy("install", "--offline", "--collections-path", directory / "installed", artifact)
    with tarfile.open(artifact) as opened:
        return faults(opened.getnames())


def copy(repository: Path, tree: Path) -> None:
    """Copy what a commit of everything would hold, and make a repository of it: tools ask git for the files."""
    shutil.rmtree(tree, ignore_errors=True)
    listed = git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in filter(None, listed.split("\0")):
        source, target = repository / name, tree / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    git(tree, "init", "--quiet")
    git(tree, "add", "--all")


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", where, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def galaxy(*arguments: str | Path) -> None:
    subprocess.run(["ansible-galaxy", "collection", *arguments], check=True)


def faults(names: list[str]) -> str | None:
    missing = [name for name in MUST_HOLD if name not in names]
    surplus = [name for name in names if NEVER_HOLDS.search(name) or not HOLDS.match(name)]
    if missing:
        return f"the artifact lacks {', '.join(missing)}"
    if surplus:
        return f"the artifact should not hold {surplus[0]} and {len(surplus) - 1} more: see build_ignore in galaxy.yml"
    print(f"{len(names)} entries in the artifact")
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
