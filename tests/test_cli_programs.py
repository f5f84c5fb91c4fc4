"""Which agent programs are here, and how each is driven."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.harness import versions
from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.configuration.presets import PRESETS
from parallel_loop.harness.configuration.settings import Config, Program
from parallel_loop.harness.configuration.writing import keys_of, lines
from support.cli import CommandLine
from support.proc import is_running, see
from support.repository import make_repository
from support.waiting import eventually


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo")


@pytest.fixture
def cli(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return CommandLine(capsys, monkeypatch, root)


def install(tmp_path: Path, name: str, script: str) -> Path:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def found(cli: CommandLine) -> dict[str, dict[str, Any]]:
    answer = cli("programs", "--json")
    assert answer.code == 0
    return {one["name"]: one for one in json.loads(answer.out)}


def test_versions_are_those_that_were_tried_or_not(cli: CommandLine, tmp_path: Path, root: Path) -> None:
    install(tmp_path, "claude", 'echo "2.1.329 (Claude Code)"')
    install(tmp_path, "codex", '[ "$1" = --version ] && echo "codex-cli 0.170.0-alpha.1"')
    install(tmp_path, "gemini", 'echo "of node 22.1: no such option" >&2; exit 1')
    install(tmp_path, "mini", 'echo "This is mini-swe-agent version 2.4.6."; exit 2')
    install(tmp_path, "goose", "echo 1.9.0")
    install(tmp_path, "mine", f"touch {tmp_path}/started; exec sleep 60")
    config = "programs: {mine: {argv: [mine]}, claude: {model: opus}, gone: {argv: [./gone.sh]}}"
    (root / "parallel-loop.yaml").write_text(config)
    before = time.monotonic()
    rows = found(cli)
    assert time.monotonic() - before < 3
    assert {name: (one["version"], one["state"]) for name, one in rows.items()} == {
        "claude": ("2.1.329", "tried"),
        "codex": ("0.170.0-alpha.1", "untried"),
        "gemini": (None, "unknown"),
        "opencode": (None, "missing"),
        "aider": (None, "missing"),
        "mini": ("2.4.6", "tried"),
        "cursor-agent": (None, "missing"),
        "amp": (None, "missing"),
        "goose": ("1.9.0", "only-read"),
        "mine": (None, "own"),
        "gone": (None, "missing"),
    }
    assert (rows["claude"]["configured"], rows["codex"]["configured"]) == (["model"], [])
    assert not (tmp_path / "started").exists()
    out = cli("programs").out.splitlines()
    assert [line.split()[0] for line in out[1:]] == list(rows)
    assert any("0.170.0-alpha.1" in line and "not tried; those that were: 0.169.0" in line for line in out)
    assert any("./gone.sh is not there" in line for line in out)


def test_what_does_not_answer_is_not_waited_for(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_LIMIT_SECONDS", 0.7)
    hangs = install(tmp_path, "hangs", f"sleep 60 & echo $! > {tmp_path}/child; sleep 60")
    with pytest.raises(versions.NoAnswer):
        versions.version_of(str(hangs), {"PATH": "/usr/bin:/bin"})
    child = see(int((tmp_path / "child").read_text()))
    eventually(lambda: child is None or not is_running(child))
    assert versions.version_of(str(tmp_path), {}) is None
    for name in ("claude", "codex", "gemini", "opencode", "aider", "mini", "goose", "amp"):
        install(tmp_path, name, "exec sleep 60")
    before = time.monotonic()
    out = cli("programs").out
    assert time.monotonic() - before < 2, "all are asked at the same time"
    assert "did not answer within 0.7 s; those that were tried: " in out
    monkeypatch.undo()
    assert versions._LIMIT_SECONDS == 20, "gemini needs more than 5 on a slow machine"


@pytest.mark.parametrize("name", PRESETS)
def test_a_table_that_is_pasted_below_programs_is_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "parallel-loop.yaml"
    path.write_text("\n".join(["programs:", *lines({name: keys_of(Config().adapter(name))}, 2)]) + "\n")
    assert load_config(path, {}).adapter(name) == Config().adapter(name)


def test_awkward_values_are_read_back(tmp_path: Path) -> None:
    words = ("a b", "no", '"', "ü: {item}", "-", "#", "line\nbreak", "12")
    given = Program(argv=words, silent_seconds=0.0625, stop_seconds=0.0, tried=())
    path = tmp_path / "parallel-loop.yaml"
    path.write_text("\n".join(["programs:", *lines({"x": keys_of(given)}, 2)]) + "\n")
    assert load_config(path, {}).programs["x"] == given


def test_one_table_is_shown(cli: CommandLine, root: Path) -> None:
    (root / "parallel-loop.yaml").write_text("programs: {claude: {model: opus}}")
    answer = cli("programs", "claude")
    assert answer.code == 0
    assert "  claude:\n    argv: [claude, " in answer.out
    assert "    model: opus\n" in answer.out
    assert json.loads(cli("programs", "claude", "--json").out)["claude"]["model"] == "opus"
    assert (cli("programs", "claud").code, cli("programs", "shell").code) == (1, 1)
    assert cli("programs", "claud").line == "unknown program 'claud'; did you mean `claude`?"


def test_doctor_warns_of_a_version_in_use_that_was_not_tried(cli: CommandLine, tmp_path: Path, root: Path) -> None:
    install(tmp_path, "claude", "echo 3.0.0")
    install(tmp_path, "goose", "echo 1.0.0")
    install(tmp_path, "codex", "echo 0.169.0")
    config = "program: claude\nroles: {a: {program: goose}, b: {program: codex}}\nprograms: {aider: {}}\n"
    (root / "parallel-loop.yaml").write_text(config)
    findings = [one for one in json.loads(cli("doctor", "--json").out)["findings"] if one["name"] == "program"]
    assert [(one["verdict"], one["detail"].partition(":")[0]) for one in findings] == [
        ("warn", "aider"),
        ("warn", "claude 3.0.0"),
        ("ok", "codex 0.169.0"),
        ("warn", "goose 1.0.0"),
    ]
    assert "tried: ['3.0.0']" in findings[1]["remedy"]
    config = (
        "budget: {run: 5}\nprograms: {codex: {model: x}, goose: {model: y}, claude: {model: opus}, own: {argv: [sh]}}\n"
    )
    (root / "parallel-loop.yaml").write_text(config)
    findings = json.loads(cli("doctor", "--json").out)["findings"]
    said = [(one["verdict"], one["detail"]) for one in findings if one["name"] == "program"]
    assert [(verdict, detail.partition(":")[0]) for verdict, detail in said] == [
        ("ok", "shell"),
        ("ok", "codex 0.169.0"),
        ("warn", "goose 1.0.0"),
        ("warn", "claude 3.0.0"),
        ("ok", "own"),
    ], "an item may name each of them"
    vain = [one["detail"].partition(" ")[0] for one in findings if one["name"] == "budget"]
    assert vain == ["codex", "goose", "own"]
    (root / "parallel-loop.yaml").write_text("program: claude\nprograms: {claude: {tried: ['3.0.0']}}\n")
    assert "ok    program       claude 3.0.0" in cli("doctor").out
