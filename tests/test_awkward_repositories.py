"""Repositories whose configuration, hooks and filters are in git's way: worktrees are reused, and work lands there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.harness import Workshop, make_workshop
from support.landing import land
from support.repository import commit, git, make_repository

AWKWARD: dict[str, Callable[[Path], object]] = {}


def awkward(build: Callable[[Path], object]) -> Callable[[Path], object]:
    """Register a function that makes a user's repository awkward."""
    AWKWARD[build.__name__] = build
    return build


def install(root: Path, text: str, *names: str) -> None:
    for name in names:
        hook = root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{text}\n")
        hook.chmod(0o755)


@awkward
def hooks_that_fail(root: Path) -> None:
    install(root, "exit 1", "post-checkout", "pre-commit", "commit-msg", "post-merge", "reference-transaction")


@awkward
def hooks_that_hang(root: Path) -> None:
    install(root, "exec sleep 1000", "post-checkout", "pre-commit", "post-index-change", "post-merge")
    install(root, "exec sleep 1000", "reference-transaction", "post-rewrite", "fsmonitor-watchman")
    git(root, "config", "core.fsmonitor", ".git/hooks/fsmonitor-watchman")


@awkward
def commits_that_must_be_signed(root: Path) -> None:
    for key in ("commit.gpgSign", "tag.gpgSign", "merge.verifySignatures"):
        git(root, "config", key, "true")
    git(root, "config", "gpg.program", "/bin/false")


@awkward
def line_endings_of_another_system(root: Path) -> None:
    git(root, "config", "core.autocrlf", "true")


@awkward
def a_filter_that_keeps_large_files_elsewhere(root: Path) -> None:
    """As git-lfs does: what is committed is a pointer, and the content lies in `.git/large`."""
    script = root / ".git" / "filter"
    script.write_text(
        f"#!{sys.executable} -IS\n"
        "import hashlib, os, sys\n"
        f"store = {str(root / '.git' / 'large')!r}\n"
        "os.makedirs(store, exist_ok=True)\n"
        "data = sys.stdin.buffer.read()\n"
        "if sys.argv[1] == 'clean' and not data.startswith(b'pointer '):\n"
        "    name = hashlib.sha1(data).hexdigest()\n"
        "    open(os.path.join(store, name), 'wb').write(data)\n"
        "    data = b'pointer ' + name.encode() + b'\\n'\n"
        "elif sys.argv[1] == 'smudge' and data.startswith(b'pointer '):\n"
        "    data = open(os.path.join(store, data.split()[1].decode()), 'rb').read()\n"
        "sys.stdout.buffer.write(data)\n"
    )
    script.chmod(0o755)
    for name in ("clean", "smudge"):
        git(root, "config", f"filter.large.{name}", f"{script} {name}")
    git(root, "config", "filter.large.required", "true")
    commit(root, {".gitattributes": "*.bin filter=large\n", "big.bin": b"\0big\r\n" * 1000})
    assert git(root, "cat-file", "blob", "HEAD:big.bin").startswith("pointer ")


@awkward
def a_submodule(root: Path) -> None:
    library = make_repository(root.parent / "library", {"lib": "1\n"})
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    commit(root, {})


@awkward
def settings_that_change_what_commands_do(root: Path) -> None:
    settings = {
        "pull.rebase": "true", "merge.ff": "false", "status.showUntrackedFiles": "no", "core.untrackedCache": "true",
        "push.gpgSign": "true", "diff.noprefix": "true", "status.submoduleSummary": "true", "color.ui": "always",
        "core.quotePath": "false", "rebase.autoStash": "true", "merge.autoStash": "true", "log.showSignature": "true",
        "checkout.defaultRemote": "nowhere", "fetch.fsckObjects": "true", "diff.ignoreSubmodules": "all",
        "core.checkStat": "minimal", "core.trustctime": "false", "index.version": "4", "feature.manyFiles": "true",
        "branch.autoSetupMerge": "always", "user.useConfigOnly": "true", "core.logAllRefUpdates": "false",
    }  # fmt: skip
    for key, value in settings.items():
        git(root, "config", key, value)
    git(root, "config", "--unset", "user.name")


@pytest.fixture(params=AWKWARD)
def shop(tmp_path: Path, alone: None, request: pytest.FixtureRequest) -> Iterator[Workshop]:
    shop = make_workshop(tmp_path / "repo", "checks: ['test -e README.md']\n", {"dos.txt": b"a\r\nb\r\n"})
    AWKWARD[request.param](shop.root)
    yield shop
    for pid in shop.mark.living():
        os.kill(pid, signal.SIGKILL)


def test_worktrees_are_reused_and_work_lands(shop: Workshop) -> None:
    off = ("core.hooksPath=/dev/null", "commit.gpgSign=false", "core.fsmonitor=false", "color.ui=never")
    bare = [word for setting in off for word in ("-c", setting)]
    head = git(shop.root, *bare, "rev-parse", "HEAD")
    files = "echo one > one.txt; printf 'x\\r\\n' > dos-one.txt; printf large > one.bin"
    shop.work("one", f"{files}; git tag v1; mkdir -p build; echo x > build/x.o")
    shop.work("two", "test ! -e one.txt && test ! -e build && echo two > two.txt")
    for item_id in ("one", "two"):
        assert shop.last(item_id).kind == "landing", shop.last(item_id)
    report = land(shop.project)
    assert report.blocked is None, report
    assert [shop.last(item_id).kind for item_id in ("one", "two")] == ["done", "done"]
    assert git(shop.root, *bare, "rev-parse", "HEAD") == report.landed != head
    assert git(shop.root, *bare, "status", "--porcelain", "--untracked-files=all") == ""
    assert (shop.root / "one.txt").read_bytes().split() == [b"one"]
    assert (shop.root / "one.bin").read_bytes() == b"large"
    changed = git(shop.root, *bare, "diff", "--name-only", head, "HEAD").split()
    assert changed == ["build/x.o", "dos-one.txt", "one.bin", "one.txt", "two.txt"]


@pytest.mark.usefixtures("alone")
def test_filters_of_large_files_are_applied_in_commits_that_we_make(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo")
    a_filter_that_keeps_large_files_elsewhere(shop.root)
    record = shop.work("one", "cp big.bin bigger.bin; echo more >> bigger.bin")
    assert git(shop.root, "cat-file", "blob", f"{record.commit}:bigger.bin").startswith("pointer ")
