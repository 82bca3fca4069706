# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The rooms of the house in order, and who imports whom, read from the code. Prints the picture of docs/architecture.md:

python3 tools/house.py > docs/architecture.svg
"""

import ast
import os
from collections import Counter
from html import escape

PLUGINS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "plugins")
COLLECTION = "ansible_collections.headroom.netfilter.plugins."

SHARED = "module_utils/_conntrack"
CONTROLLER = "plugin_utils/_conntrack"

# Lowest first, with what is in each: a file imports only from its own room and from those above it here.
ROOMS = {
    SHARED: "names, numbers and readers",
    SHARED + "/host": "the door: the only I/O",
    SHARED + "/sources": "text of a machine -> values",
    SHARED + "/ruleset": "rules of firewalls, whoever made them",
    SHARED + "/owners": "who else writes the keys",
    SHARED + "/outcome": "what a load and a boot will leave",
    SHARED + "/stack": "the modules of conntrack, and who needs them",
    SHARED + "/entries": "the table's entries",
    SHARED + "/journal": "what was, kept and given back",
    SHARED + "/facts": "what is",
    SHARED + "/plan": "what should be, and what differs",
    SHARED + "/findings": "what is wrong",
    SHARED + "/change": "lock, apply, prove, undo",
    SHARED + "/notrack": "flows that are left untracked",
    SHARED + "/cures": "to track less, or not at all",
    CONTROLLER: "what a host may answer",
    CONTROLLER + "/show": "tables and text",
    CONTROLLER + "/render": "files",
    CONTROLLER + "/fleet": "many hosts",
    CONTROLLER + "/report": "many hosts, a file for each form",
    "action": "on the controller, for each module",
    "filter": "for playbooks",
    "modules": "on the hosts",
    "doc_fragments": "what modules have in common",
}


def room(path):
    return os.path.dirname(path)


def files():
    """Every file of the plugins, from their folder on."""
    found = []
    for folder, _folders, names in os.walk(PLUGINS):
        found += [
            os.path.relpath(os.path.join(folder, name), PLUGINS)
            for name in names
            if name.endswith(".py") and name != "__init__.py"
        ]
    return sorted(found)


def imports():
    """By file, the files of the plugins that it imports, at its head or later."""
    known = files()
    return {path: sorted(_imported(path, known)) for path in known}


def _imported(path, known):
    with open(os.path.join(PLUGINS, path), encoding="utf-8") as opened:
        tree = ast.parse(opened.read())
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level:
            parts = path.split("/")[: -node.level] + [part for part in module.split(".") if part]
        elif module.startswith(COLLECTION):
            parts = module[len(COLLECTION) :].split(".")
        else:
            continue
        # A module; or a room, and modules by their names.
        whole = "/".join(parts) + ".py"
        names = [whole] if whole in known else ["/".join(parts + [name.name]) + ".py" for name in node.names]
        found.update(name for name in names if name in known)
    return found


# The picture: a row for each room, with its files; and to the right, below the diagonal, who imports whom.
ROW, LEFT, TEXT, CELL = 40, 20, 620, 26
STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;font-size:12px;fill:#222}"
    ".room{font-weight:bold;font-size:13px}.what{fill:#555}.files{fill:#777;font-size:10px}"
    ".shared{fill:#e8f0fa}.controller{fill:#f7efe1}.surface{fill:#e9f5e9}.own{fill:#bbb}.uses{fill:#3b6ea5}"
    ".number{fill:#fff;font-size:11px;text-anchor:middle}.head{font-size:11px}"
)


def picture():
    """The house as SVG."""
    there = Counter(map(room, files()))
    rooms = [name for name in ROOMS if there[name]]
    uses = Counter((room(path), room(other)) for path, others in imports().items() for other in others)
    width, height = LEFT + TEXT + CELL * len(rooms) + 40, ROW * (len(rooms) + 3)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}">'.format(width, height),
        "<!-- Made by tools/house.py from the imports in the code. -->",
        "<style>{0}</style>".format(STYLE),
        '<rect width="{0}" height="{1}" fill="#fff"/>'.format(width, height),
    ]
    top = ROW * 2
    for column, name in enumerate(rooms):
        x, y = LEFT + TEXT + CELL * column + CELL // 2, top - 6
        lines.append(
            '<text class="head" transform="translate({0},{1}) rotate(-45)">{2}</text>'.format(x, y, _short(name))
        )
    for row, name in enumerate(rooms):
        lines += _row(name, top + ROW * row)
        for column, other in enumerate(rooms[: row + 1]):
            lines += _cell(LEFT + TEXT + CELL * column, top + ROW * row, uses[name, other], name == other)
    legend = "Each room imports only what stands above it; a number says how many imports there are, grey those within a room."
    lines += [_text("what", LEFT, top + ROW * len(rooms) + 24, legend), "</svg>", ""]
    return "\n".join(lines)


def _row(name, y):
    kind = "shared" if name.startswith(SHARED) else "controller" if name.startswith(CONTROLLER) else "surface"
    stems = [os.path.basename(path)[:-3] for path in files() if room(path) == name]
    listed = " ".join(stem.replace("conntrack_", "") if kind == "surface" else stem for stem in stems)
    return [
        '<rect class="{0}" x="{1}" y="{2}" width="{3}" height="{4}" rx="4"/>'.format(kind, LEFT, y, TEXT - 16, ROW - 6),
        _text("room", LEFT + 8, y + 15, _short(name)),
        _text("what", LEFT + 130, y + 15, ROOMS[name]),
        _text("files", LEFT + 8, y + 29, listed),
    ]


def _cell(x, y, number, own):
    if not number:
        return []
    box = '<rect class="{0}" x="{1}" y="{2}" width="{3}" height="{4}" rx="3"/>'.format(
        "own" if own else "uses", x, y + 4, CELL - 4, ROW - 14
    )
    return [box, _text("number", x + (CELL - 4) // 2, y + 21, str(number))]


def _text(kind, x, y, text):
    return '<text class="{0}" x="{1}" y="{2}">{3}</text>'.format(kind, x, y, escape(text))


def _short(name):
    return (
        name.replace(SHARED + "/", "")
        .replace(CONTROLLER + "/", "")
        .replace(SHARED, "words")
        .replace(CONTROLLER, "answers")
    )


if __name__ == "__main__":
    print(picture(), end="")
