# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line of a script, a crontab or a unit sets: by sysctl, by a key's file, by loading the module. Pure.

Lines are read by words, as the shell and systemd read them. sysctl's own reading of its words is that of procps 4.0; procps 3 and
busybox, which leave blanks before = in a name, set nothing by a word with such blanks.
"""

import re
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .. import kernel
from ..sources.sysctl import number

if TYPE_CHECKING:
    from ..sources.udev import Sysctl

# Characters. Of a longer line it is only told which keys it names.
_LONGEST_LINE = 4096
# Of lines within lines, as in sh -c.
_DEEPEST = 3

_NAME = (
    r"net[./](?:netfilter[./]nf_conntrack_|ipv4[./]netfilter[./]ip_conntrack_"
    r"|(?:nf_conntrack_|ipv4[./]ip_conntrack_)(?=max\b))(?P<key>[a-z0-9_]{1,99})"
)
HASHSIZE_FILE = r"/sys/module/(?:nf|ip)_conntrack/parameters/hashsize"
HASHSIZE = re.compile(r"\bhashsize=(\S*)")
_SYSCTL_NAME = re.compile(r"(?:/proc/sys/)?" + _NAME)
_FILE = re.compile(r"/proc/sys/net/[\w./]+|" + HASHSIZE_FILE)
_NAMED = re.compile(_NAME + r"|\bhashsize=|" + HASHSIZE_FILE)
_MODULE = re.compile(r"(?:.*/)?(?:nf|ip)[_-]conntrack(?:\.ko(?:\.\w+)?)?")

# What a unit's Exec= may have before the path; from there on no shell reads the line.
_EXEC = re.compile(r"\s*Exec[A-Za-z]+\s*=\s*[-@:+!|]*")
_TOKEN = re.compile(
    r"(?P<blank>[ \t\r\v\f]+)|(?P<opened>\$\(\(?|\(|`)|(?P<closed>\)\)?)"
    r"|(?P<redirect>(?:&|[0-9]*)>>?[|&]?|[0-9]*<<?<?[&>]?)|(?P<operator>[;&|]{1,2})"
    r"|'(?P<single>[^']*)(?:'|\Z)|\"(?P<double>(?:[^\"\\]|\\.)*)(?:\"|\\?\Z)|\\(?P<escaped>.|\Z)|(?P<plain>[^\s'\"\\;&|()<>`$]+|\$)"
)
_UNIT_TOKEN = re.compile(
    r"(?P<blank>\s+)|'(?P<single>(?:[^'\\]|\\.)*)(?:'|\\?\Z)|\"(?P<double>(?:[^\"\\]|\\.)*)(?:\"|\\?\Z)"
    r"|\\(?P<escaped>.|\Z)|(?P<plain>[^\s'\"\\]+)"
)
_ESCAPED = re.compile(r"\\([$`\"\\])")

# What prints or looks at its words.
_SAYS = re.compile(
    r"\[\[?|:|alias|apt(-get)?|awk|case|cat|complete|dnf|dpkg|echo|[ef]?grep|expr|false|for|function|hash|kill|log_begin_msg"
    r"|logger|ls|man|mkdir|pgrep|pkill|printf|return|rm|rpm|sed|select|test|touch|trap|true|type|whatis|which|yum"
)
# What runs its words in another place: a container, a namespace, a tree, a machine.
_ELSEWHERE = re.compile(
    r"ansible|arch-chroot|buildah|bwrap|chroot|crictl|crun|ctr|docker(-compose)?|firejail|incus|ip|kubectl|lxc(-(attach|execute"
    r"|start))?|machinectl|multipass|nerdctl|nsenter|oc|pct|pdsh|podman(-compose)?|prlctl|proot|pssh|rsh|runc|schroot|ssh"
    r"|sshpass|systemd-nspawn|unshare|vagrant|virsh|vzctl"
)
_SHELL = re.compile("(b|d)?ash|busybox|m?ksh|runuser|sh|su|zsh")
# Words among which a shell has its -c.
_MOST_OPTIONS = 9
_SYSCTL_OPTION = re.compile("-[bnNewqox]+|--(?:deprecated|binary|ignore|names|values|quiet|write|system)")
_APPLYING = re.compile("-[a-zA-Z]*[pf]|--(?:system|load)")
_SYSCTL_PATTERN = re.compile("(?:-[bnNewqox]*r|--pattern=?)(.*)")


class Word(NamedTuple):
    """Without its quotes."""

    text: str
    plain: bool = True  # whether there is nothing in it that a shell puts something else for


class Command(NamedTuple):
    """A simple command as a shell runs it."""

    words: List[Word]
    text: Optional[Word] = None  # on its standard input
    output: Optional[Word] = None  # the file that its output goes to


Keys = Dict[str, Optional[int]]


def sysctl_key(name: str, names: kernel.Flavour) -> Optional[str]:
    """The name this flavour has for a key, written with dots or slashes, by an alias or an old name; None for others.

    The key buckets is the module's hashsize by another name, and is given as that.
    """
    found = _SYSCTL_NAME.fullmatch(name)
    if not found:
        return None
    return "hashsize" if found.group("key") == "buckets" else names.prefix + found.group("key")


def plain_number(text: str) -> Optional[int]:
    """A number as it stands, quotes taken off; None for variables and everything else."""
    text = text.strip().strip("\"'")
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


def assignments(line: str, names: kernel.Flavour) -> Keys:
    """What a line of a shell script, crontab or unit sets: by sysctl, by the key's file, by loading the module."""
    if line.lstrip().startswith(("#", ";")):
        return {}
    keys: Keys = {}
    if len(line) > _LONGEST_LINE:
        for named in _NAMED.finditer(line.split(" #", 1)[0]):
            key = "hashsize" if named.group().endswith(("/hashsize", "hashsize=")) else sysctl_key(named.group(), names)
            if key:
                keys[key] = None
        return keys
    for command in commands(line):
        for written, value in _assigned(command):
            name = "net.netfilter.nf_conntrack_buckets" if re.fullmatch(HASHSIZE_FILE, written) else written
            key = sysctl_key(name, names)
            # What the kernel refuses leaves what was there.
            if key and not (value.plain and number(name, value.text) is None):
                keys[key] = number(name, value.text) if value.plain else None
    return keys


def calls(line: str) -> Iterator["Sysctl"]:
    """The commands of a line that apply files of settings."""
    if line.lstrip().startswith(("#", ";")) or len(line) > _LONGEST_LINE:
        return
    for command in commands(line):
        if command.words and _applies(command.words) and all(word.plain for word in command.words):
            # The same as in owner.py.
            from ..sources.udev import sysctl_call

            call = sysctl_call([word.text for word in command.words])
            if call:
                yield call


def _applies(words: List[Word]) -> bool:
    name = _name(words[0])
    return name == "systemd-sysctl" or (name == "sysctl" and any(map(_APPLYING.match, (word.text for word in words))))


def commands(line: str) -> Iterator[Command]:
    """Those of a line that this host itself runs, from their own name on: what stands before it, as sudo, is left out."""
    unit = _EXEC.match(line)
    yield from _run(_unit(line[unit.end() :]) if unit else _shell(line), 1)


def _run(found: List[Command], depth: int) -> Iterator[Command]:
    for command in found:
        words = command.words
        # First comes an assignment, a keyword, a time of cron, or what runs the rest.
        for at, word in enumerate(words):
            name = _name(word)
            if _ELSEWHERE.fullmatch(name):
                words = []
                break
            if name in _RUNS or _SAYS.fullmatch(name):
                words = words[at:]
                break
            inner = _inner(name, words, at + 1) if depth < _DEEPEST else None
            if inner is not None:
                yield from _run(_shell(inner), depth + 1)
                words = []
                break
        yield command._replace(words=words)


def _name(word: Word) -> str:
    """A program's; where that is in a variable, the variable mostly has its name. Empty for other paths."""
    path, _slash, name = word.text.rpartition("/")
    name = name.strip("${}").lower()
    return name if name in _RUNS or not path or re.search("bin}?$", path, re.I) else ""


def _inner(name: str, words: List[Word], start: int) -> Optional[str]:
    """The line that a shell is given to run."""
    if name == "eval":
        return " ".join(word.text for word in words[start:])
    if _SHELL.fullmatch(name):
        for at in range(start, min(start + _MOST_OPTIONS, len(words) - 1)):
            if re.fullmatch("-[a-z]*c|--command", words[at].text):
                return words[at + 1].text
    return None


def _shell(line: str) -> List[Command]:
    """The simple commands of a line."""
    found: List[Command] = []
    outer: List[_Unfinished] = []
    now = _Unfinished()
    for token in _TOKEN.finditer(line):
        kind, text = str(token.lastgroup), token.group()
        if kind == "blank":
            now.end_word()
        elif kind == "plain" and text.startswith("#") and not now.begun:
            break
        elif kind == "opened" and not (text == "`" and outer and outer[-1].opened == "`"):
            now.opened = text
            if text != "(":
                now.add("", False)
            outer.append(now)
            now = _Unfinished()
        elif kind in ("opened", "closed"):
            inner = now.end()
            if outer:
                now = outer.pop()
                # Arithmetic runs nothing.
                found += [inner] if now.opened != "$((" else []
                # The two parentheses of $( ( ) ) are of two that were opened.
                if text == "))" and now.opened != "$((" and outer:
                    found.append(now.end())
                    now = outer.pop()
            else:
                found.append(inner)
                now = _Unfinished()
        elif kind == "operator":
            ended = now.end()
            found.append(ended)
            now = _Unfinished(_said(ended) if text == "|" else None)
        elif kind == "redirect":
            now.redirect(text)
        else:
            now.add(*_unquoted(kind, token.group(kind)))
    return found + [one.end() for one in [now] + outer[::-1]]


def _unit(line: str) -> List[Command]:
    """The commands of a unit's line: a ; that stands alone divides them, and nothing else means anything."""
    found = []
    now = _Unfinished()
    for token in _UNIT_TOKEN.finditer(line):
        kind = str(token.lastgroup)
        if kind == "blank":
            now.end_word()
        elif token.group() == ";" and not now.begun and line[token.end() : token.end() + 1] in ("", " ", "\t"):
            found.append(now.end())
            now = _Unfinished()
        else:
            text, plain = _unquoted(kind, token.group(kind))
            now.add(text, plain and "$" not in text and "%" not in text)
    return found + [now.end()]


def _unquoted(kind: str, text: str) -> Tuple[str, bool]:
    if kind == "double":
        bare = _ESCAPED.sub("", text)
        return _ESCAPED.sub(r"\1", text), "$" not in bare and "`" not in bare
    return text, not (kind == "plain" and "$" in text)


class _Unfinished:
    """A command of which there is more to come."""

    def __init__(self, text: Optional[Word] = None) -> None:
        self.begun = False  # a word
        self.opened = ""  # what another command stands in
        self._command = Command([], text)
        self._parts: List[str] = []
        self._plain = True
        self._redirected = ""

    def add(self, text: str, plain: bool) -> None:
        self.begun = True
        self._parts.append(text)
        self._plain = self._plain and plain

    def redirect(self, sign: str) -> None:
        self.end_word()
        digits = sign.rstrip("<>&|")
        if len(digits) > 1:
            # To some shells a number of a file, to others a word.
            self._command.words.append(Word(digits, False))
            sign = sign[len(digits) :]
        self._redirected = sign

    def end_word(self) -> None:
        if not self.begun:
            return
        word = Word("".join(self._parts), self._plain)
        if not self._redirected:
            self._command.words.append(word)
        elif re.match("[1&]?>", self._redirected):
            # The last one gets it; the others are opened, which sets nothing.
            self._command = self._command._replace(output=word)
        elif self._redirected.endswith("<<<"):
            self._command = self._command._replace(text=word)
        self.begun, self._parts, self._plain, self._redirected = False, [], True, ""

    def end(self) -> Command:
        self.end_word()
        return self._command


def _said(command: Command) -> Word:
    """What a command writes: its words where it is echo or printf, else what cannot be told."""
    names = [_name(word) for word in command.words]
    at = next((at for at, name in enumerate(names) if name in ("echo", "printf") or _ELSEWHERE.fullmatch(name)), None)
    if at is None or names[at] not in ("echo", "printf"):
        return Word("", False)
    words = [word for word in command.words[at + 1 :] if not re.fullmatch("-[neE]+", word.text)]
    if names[at] == "printf" and len(words) > 1:
        words = words[1:] if re.fullmatch(r"%[sdiu](\\n)?", words[0].text) else [Word("", False)]
    text = " ".join(word.text for word in words)
    return Word(text[:-2] if text.endswith("\\n") else text, all(word.plain for word in words))


def _assigned(command: Command) -> Iterator[Tuple[str, Word]]:
    """The names or files that a command sets, and to what."""
    name = _name(command.words[0]) if command.words else ""
    if name in _RUNS:
        yield from _RUNS[name](command)
    file = command.output
    if file and file.plain and _FILE.fullmatch(file.text):
        yield file.text, _said(command)


def _sysctl(command: Command) -> Iterator[Tuple[str, Word]]:
    """The assignments among sysctl's words. With -p they are names of files; other options let it show values or its help."""
    settings: List[Word] = []
    looked_for: Optional[Word] = None
    words = iter(command.words[1:])
    for word in words:
        pattern = _SYSCTL_PATTERN.fullmatch(word.text)
        if word.text == "--":
            settings += words
        elif not re.match("-.", word.text):
            settings.append(word)
        elif pattern:
            looked_for = word._replace(text=pattern.group(1)) if pattern.group(1) else next(words, None)
        elif not _SYSCTL_OPTION.fullmatch(word.text):
            return
    if looked_for and looked_for.plain:
        # Few lines have one.
        from ..sources.patterns import finds
    for word in settings:
        if looked_for:
            # Next to no script has one.
            from ..sources.patterns import finds

            found = finds(looked_for.text, word.text) if looked_for.plain else None
            if found is False:
                continue
            word = word if found else word._replace(plain=False)
        yield from _setting(word)


def _setting(word: Word) -> Iterator[Tuple[str, Word]]:
    name, sep, value = word.text.lstrip().partition("=")
    # No key has both separators in its name, which is no path of /proc.
    if sep and not name.startswith("/") and not ("." in name and "/" in name):
        # A failure is allowed after one - or two. To procps 3 and busybox a blank before = is a part of the name, to procps 4 not.
        plain = word.plain and name == name.rstrip()
        yield re.sub("^--?", "", name.rstrip()), Word(value.strip(), plain)


def _load(command: Command) -> Iterator[Tuple[str, Word]]:
    words = command.words[1:]
    names = [at for at, word in enumerate(words) if not word.text.startswith("-")]
    options = [word.text for word in words if word.text.startswith("-")]
    if not names or any(re.match("-[^-]*[acnrD]|--(?:all|dry|show|remove|resolve)", option) for option in options):
        return
    if _MODULE.fullmatch(words[names[0]].text):
        for at in names[1:]:
            name, sep, value = words[at].text.partition("=")
            if sep and name == "hashsize":
                yield "/sys/module/nf_conntrack/parameters/hashsize", Word(value, words[at].plain)


def _tee(command: Command) -> Iterator[Tuple[str, Word]]:
    for word in command.words[1:]:
        if word.plain and _FILE.fullmatch(word.text):
            yield word.text, command.text or Word("", False)


def _nothing(_command: Command) -> Iterator[Tuple[str, Word]]:
    return iter(())


_RUNS = {"sysctl": _sysctl, "systemd-sysctl": _nothing, "modprobe": _load, "insmod": _load, "tee": _tee}
