# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A real kube-proxy. No package has one; the sources of Debian's kubernetes do, with all they need, and its Go compiles it in a minute.

Run as a program, it builds what the tests then find in $XDG_CACHE_HOME/headroom.netfilter/programs (~/.cache by default): 100 MB are
downloaded, and 1 GB is needed meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import images

SUITE, VERSION, GO = "bookworm", "1.20.5+really1.20.2-1.1+deb12u1", "golang-1.19"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def home() -> Path:
    """Where it is, or is to be: a root of its own."""
    return images.cache().parent / "programs/kube-proxy"


def build() -> None:
    if (home() / "usr/bin/kube-proxy").exists():
        return
    home().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home().parent) as work:
        done = Path(work) / "done"
        _build(Path(work), done / "usr/bin/kube-proxy")
        done.rename(home())


def _build(work: Path, target: Path) -> None:
    apt = _apt(work)
    subprocess.run(["apt-get", *apt, "update", "-q"], cwd=work, check=True)
    subprocess.run(["apt-get", *apt, "source", "-q", "--download-only", f"kubernetes={VERSION}"], cwd=work, check=True)
    subprocess.run(["apt-get", *apt, "download", "-q", f"{GO}-go", f"{GO}-src"], cwd=work, check=True)
    for archive in work.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, work / "go"], check=True)
    # Where a Go without modules looks for it: a newer one than it was written for does not agree with its list of them.
    source = work / "path/src/k8s.io/kubernetes"
    source.mkdir(parents=True)
    (original,) = work.glob("kubernetes_*.orig.tar.*")
    subprocess.run(["tar", "-C", source, "--strip-components=1", "-xf", original], check=True)
    (goroot,) = (work / "go/usr/lib").glob("go-*")
    folders = {"GOROOT": goroot, "GOPATH": work / "path", "GOCACHE": work / "cache", "GOTMPDIR": work}
    settings = {**{name: str(path) for name, path in folders.items()}, "CGO_ENABLED": "0", "GO111MODULE": "off"}
    words = [goroot / "bin/go", "build", "-o", target, "./cmd/kube-proxy"]
    subprocess.run(words, cwd=source, env={**os.environ, **settings}, check=True)


def _apt(work: Path) -> list[str]:
    """Options that keep APT's lists of that suite apart from this machine's."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / "apt" / folder).mkdir(parents=True)
    signed = f"[signed-by={KEYS}] " if Path(KEYS).exists() else ""
    address = f"{signed}{images.mirror()} {SUITE} main"
    sources = work / "apt/sources.list"
    sources.write_text(f"deb {address}\ndeb-src {address}\n")
    options = {
        "Dir::State": work / "apt",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "apt/cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


if __name__ == "__main__":
    build()
