"""The parallel-loop.yaml that `init` writes: the defaults, and what was found in the repository and on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from parallel_loop.harness.configuration.documents import read_document
from parallel_loop.harness.configuration.settings import Config, Limits
from parallel_loop.harness.configuration.template import found_programs, guess_checks, template
from support.configuration import load

ODD_BRANCHES = ["main", "feature/x-1", "true", "12", "no", "a#b", "é", "it's", 'say"so', "x,y", "1e5"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", ODD_BRANCHES)
@pytest.mark.parametrize("checks", [[], ["make test"], ["npm test", "echo \"a: {b}\" # 'c'", "true"]])
def test_the_template_means_the_defaults_and_what_it_was_given(root: Path, target: str, checks: list[str]) -> None:
    text = template(target, checks, ["claude"], ["pytest -q"])
    assert load(root, text) == Config(target=target, checks=tuple(checks))
    assert text.count("\n") <= 60
    assert max(map(len, text.splitlines())) <= 160


def test_every_commented_key_of_the_template_can_be_switched_on_by_itself_and_together(root: Path) -> None:
    lines = template("main", [], [], ["pytest -q"]).splitlines()
    keys = [number for number, line in enumerate(lines) if line.startswith("#") and not line.startswith("# ")]
    (root / "prompt.txt").write_text("$prompt")
    loaded = [load(root, "\n".join([*lines[:n], lines[n].removeprefix("#"), *lines[n + 1 :]])) for n in keys]
    changed = [config for config in loaded if config != Config(target="main")]
    # remote, fallback, checks, setup, programs, context, prompt, roles, `cpu`, `window`, budget, salvage are examples
    assert len(changed) == 12
    assert Config(target="main", limits=Limits(cpu_cores=1.0)) in changed
    everything = "\n".join(line.removeprefix("#") if n in keys else line for n, line in enumerate(lines))
    shown = read_document(everything, "template")
    assert isinstance(shown, dict)
    readable = {field.encode_name for field in structs.fields(Config)} - {"source", "file_agents"}
    assert set(shown) == readable
    for name in ("setup", "retry", "limits", "health", "after_limit"):
        section = getattr(load(root, everything), name)
        assert set(shown[name]) == {field.encode_name for field in structs.fields(type(section))}


@pytest.mark.parametrize(
    ("files", "guesses"),
    [
        ({}, []),
        ({"Makefile": ".PHONY: test\ntest: build\n\tpytest\n", "pytest.ini": ""}, ["make test"]),
        ({"makefile": "check test::\n"}, ["make test"]),
        ({"Makefile": ".PHONY: test\ntest := x\ntests: y\n\ttest: z\n"}, []),
        ({"package.json": '{"scripts": {"test": "jest"}}'}, ["npm test"]),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, []),
        ({"package.json": "{broken"}, []),
        ({"package.json": '{"scripts": []}', "tests/test_a.py": ""}, ["pytest -q"]),
        (
            {"pyproject.toml": "[tool.pytest.ini_options]", "Cargo.toml": "", "go.mod": ""},
            ["pytest -q", "cargo test", "go test ./..."],
        ),
        ({"pyproject.toml": "[project]", "pom.xml": "", "Makefile": b"\xff\xfe"}, ["mvn -q test"]),
    ],
)
def test_checks_are_guessed_from_what_lies_in_the_repository(
    root: Path, files: dict[str, str | bytes], guesses: list[str]
) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert guess_checks(root) == guesses


def test_agent_programs_are_found_on_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("codex", "aider", "other"):
        (root / name).write_text("#!/bin/sh\n")
        (root / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(root))
    assert found_programs() == ["codex", "aider"]
    assert "# On PATH when this was written: codex, aider." in template("main", [], found_programs())
