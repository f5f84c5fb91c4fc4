"""Copies and links into a fresh worktree, which lead neither in from outside nor out."""

from __future__ import annotations

import pytest

from parallel_loop.worktrees.setup import OutsideTree, set_up
from support.repository import write


@pytest.fixture
def trees(tmp_path):
    source, target, outside = tmp_path / "source", tmp_path / "target", tmp_path / "outside"
    write(source, {".env": "key", "conf/a": "a", "conf/deep/b": "b", "node_modules/x": "x"})
    write(target, {"README": "tracked"})
    write(outside, {"secret": "s"})
    return source, target, outside


def test_files_and_folders_are_copied_and_linked(trees):
    source, target, _ = trees
    (source / ".env").chmod(0o600)
    (source / "conf" / "link").symlink_to("a")
    missing = set_up(target, source, copy=[".env", "conf", "none"], link=["node_modules", "nor/this"])
    assert missing == ["none", "nor/this"]
    assert (target / ".env").read_text() == "key"
    assert (target / ".env").stat().st_mode & 0o777 == 0o600
    assert (target / "conf" / "deep" / "b").read_text() == "b"
    assert str((target / "conf" / "link").readlink()) == "a"
    assert (target / "node_modules").readlink() == source / "node_modules"


def test_what_is_there_already_is_kept(trees):
    source, target, _ = trees
    write(target, {".env": "tracked", "conf/a": "tracked", "node_modules": "tracked"})
    set_up(target, source, copy=[".env", "conf"], link=["node_modules"])
    kept = [(target / name).read_text() for name in (".env", "conf/a", "node_modules", "conf/deep/b")]
    assert kept == ["tracked", "tracked", "tracked", "b"]
    set_up(target, source, copy=[".env", "conf"], link=["node_modules"])


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../outside/secret", "conf/../../outside", ".git", "a\0b"])
def test_a_name_that_leads_out_is_refused_before_anything_is_done(trees, name):
    source, target, _ = trees
    with pytest.raises(OutsideTree, match="leads out"):
        set_up(target, source, copy=[".env", name], link=[])
    assert not (target / ".env").exists()


def test_symbolic_links_lead_neither_in_nor_out(trees):
    source, target, outside = trees
    (source / "in").symlink_to(outside)
    with pytest.raises(OutsideTree):
        set_up(target, source, copy=["in"], link=[])
    (target / "conf").symlink_to(outside)
    with pytest.raises(OutsideTree):
        set_up(target, source, copy=["conf"], link=[])
    with pytest.raises(OutsideTree):
        set_up(target, source, copy=[], link=["conf/a"])
    assert [file.name for file in outside.iterdir()] == ["secret"]


def test_a_link_inside_a_copied_folder_s_place_is_not_written_through(trees):
    source, target, outside = trees
    (target / "conf").mkdir()
    (target / "conf" / "deep").symlink_to(outside)
    set_up(target, source, copy=["conf"], link=[])
    assert [file.name for file in outside.iterdir()] == ["secret"]
