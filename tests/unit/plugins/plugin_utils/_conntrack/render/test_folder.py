# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The folder that is rendered into: nothing of anybody else's is written over."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import folder


def asked(tmp_path, machine="", **variables):
    made = folder.as_asked(variables, {"render_to": str(tmp_path / "out"), "render_machine": machine})
    for file in made["files"]:
        place = tmp_path / "out" / file["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file["content"], encoding="utf-8")
    return made


def test_all_forms_are_rendered(tmp_path):
    made = asked(tmp_path, {"memory": "4 GiB"})
    assert [file["path"] for file in made["files"] if not file["path"].startswith("tree/")] == list(folder.FORMS)
    assert {file["path"] for file in made["files"]} <= set(folder.EVERY)
    assert {file["path"]: file["mode"] for file in made["files"] if file["mode"] != "0644"} == {"apply.sh": "0755"}
    assert all(file["dest"] == str(tmp_path / "out" / file["path"]) for file in made["files"])
    assert {file["dest"].rpartition("/")[0] for file in made["files"]} == set(made["folders"])


def test_every_file_says_whose_it_is_so_that_it_may_be_written_over(tmp_path):
    first = asked(tmp_path, {"memory": "4 GiB"})
    assert asked(tmp_path, {"memory": "4 GiB"}) == first
    assert first["absent"] == []
    assert asked(tmp_path)["refusals"] == []


def test_what_is_no_longer_rendered_goes(tmp_path):
    asked(tmp_path, {"memory": "4 GiB"})
    made = asked(tmp_path)
    assert made["absent"] == [str(tmp_path / "out/kargs.d/10-headroom-netfilter.toml")]
    (tmp_path / "out/kargs.d/10-headroom-netfilter.toml").unlink()
    made = asked(tmp_path, {"memory": "4 GiB"})
    assert made["absent"] == [str(tmp_path / "out/tree") + path for path in files.BOOT]


@pytest.mark.parametrize("value", [None, "", " ", 7, ["out"], "a\nb", "a\0b"])
def test_a_folder_has_a_name(value):
    with pytest.raises(PolicyError, match=r"^render_to: .* will not do: expected the name of a folder"):
        folder.place(value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda out: out.write_text("mine"), "{0} is no folder; name another"),
        (
            lambda out: place(out / "user-data").write_text("#cloud-config\n"),
            "{0}/user-data is there and not of a rendering",
        ),
        (lambda out: place(out / "apply.sh").symlink_to("/etc/passwd"), "{0}/apply.sh is there and not of a rendering"),
        (lambda out: (out / "preseed.cfg").mkdir(parents=True), "{0}/preseed.cfg is there and not of a rendering"),
        (lambda out: place(out / "tree").symlink_to("/"), "{0}/tree is no folder; take it away"),
        (lambda out: place(out / "tree/etc").write_text(""), "{0}/tree/etc is no folder; take it away"),
        (lambda out: place(out / "kargs.d").write_text(""), "{0}/kargs.d is no folder; take it away"),
    ],
    ids=["a file", "another's", "a link", "a folder", "a link as a folder", "a file as a folder", "kargs.d"],
)
def test_what_is_anybody_elses_is_not_written_over(tmp_path, make, said):
    out = tmp_path / "out"
    make(out)
    made = folder.as_asked({}, {"render_to": str(out), "render_machine": None})
    assert made["refusals"][0].startswith(f"render_to: '{out}' will not do: " + said.format(out))
    assert made["files"] == []


def place(path):
    path.parent.mkdir(parents=True)
    return path


def test_what_else_lies_there_is_left_alone(tmp_path):
    place(tmp_path / "out/tree/etc/motd").write_text("hello")
    made = asked(tmp_path)
    assert (made["refusals"], made["absent"]) == ([], [])


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    made = asked(tmp_path / "x\n", {"memory": 4}, conntrack_max="many")
    assert [problem.partition(":")[0] for problem in made["refusals"]] == [
        "conntrack_max",
        "render_machine.memory",
        "render_to",
    ]


def test_a_relative_folder_is_below_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder.place("out") == str(tmp_path / "out")
