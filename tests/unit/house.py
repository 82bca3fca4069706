# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The rooms of the house, in order, and who imports whom, read from the code."""

import ast
import os

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COLLECTION = "ansible_collections.headroom.netfilter.plugins."

SHARED = "module_utils/_conntrack"
CONTROLLER = "plugin_utils/_conntrack"

# Lowest first: each imports only what stands above it here. The files of the first two rooms are words.
ROOMS = (
    SHARED,
    SHARED + "/host",
    SHARED + "/sources",
    SHARED + "/owners",
    SHARED + "/outcome",
    SHARED + "/entries",
    SHARED + "/journal",
    SHARED + "/facts",
    SHARED + "/plan",
    SHARED + "/findings",
    SHARED + "/change",
    CONTROLLER,
    CONTROLLER + "/show",
    CONTROLLER + "/render",
    CONTROLLER + "/fleet",
    "action",
    "filter",
    "modules",
)


def room(path):
    return os.path.dirname(path)


def files():
    """Every file of the plugins, from their folder on."""
    plugins = os.path.join(REPO, "plugins")
    found = []
    for folder, _folders, names in os.walk(plugins):
        found += [
            os.path.relpath(os.path.join(folder, name), plugins)
            for name in names
            if name.endswith(".py") and name != "__init__.py"
        ]
    return sorted(found)


def imports():
    """By file, the files of the plugins that it imports, at its head or later."""
    known = files()
    return {path: sorted(_imported(path, known)) for path in known}


def _imported(path, known):
    with open(os.path.join(REPO, "plugins", path)) as opened:
        tree = ast.parse(opened.read())
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            folder = path.split("/")[: -node.level]
            parts = folder + (node.module.split(".") if node.module else [])
        elif (node.module or "").startswith(COLLECTION):
            parts = node.module[len(COLLECTION) :].split(".")
        else:
            continue
        # A module, or from a folder the modules that are named.
        whole = "/".join(parts) + ".py"
        names = [whole] if whole in known else ["/".join(parts + [name.name]) + ".py" for name in node.names]
        found.update(name for name in names if name in known)
    return found
