"""What the design says about who may import what, checked by reading the source."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "queue": {"queue"},
    "worktrees": {"worktrees"},
    "harness": {"queue", "worktrees", "harness"},
    "coordinator": {"queue", "worktrees", "harness", "coordinator", "loop"},
    "loop": {"queue", "worktrees", "harness", "coordinator"},
}
WITHIN_HARNESS: dict[str, set[str]] = {  # what else of harness/ a folder in it may import; the rest may import it all
    "accounts": {"changing", "configuration", "outcome", "pausing", "programs", "project", "resuming", "state"},
    "configuration": set(),
    "dialects": set(),
    "keeping": {"configuration", "identity", "logs", "state"},
    "overlaps": {"project", "rereading"},
    "pausing": {"budgets", "changing", "configuration", "outcome", "programs", "project"},
}
DOORS = {
    "git": ("worktrees/git.py",),
    "yaml": ("harness/configuration/documents.py",),
    "psutil": ("harness/keeping/tree.py", "harness/keeping/processes.py", "harness/identity.py"),
    "rich": ("coordinator/",),
    "ctypes": ("harness/keeping/tree.py", "queue/inotify.py", "worktrees/files.py"),
}
ATOMIC_CALLS = {"link", "replace", "fsync", "fdatasync", "symlink", "renames"}
LATE = {"git", "yaml", "psutil", "rich"}  # heavy: imported where they are used, unless the module is their door
FOLDERS = ("queue", "worktrees", "harness", "coordinator")
SOURCES = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
SOURCES.append("loop.py")


def parse(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text(), source)


def imports(source: str, tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports, relative names resolved below `parallel_loop`."""
    package = ["parallel_loop", *Path(source).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            assert base, f"{source}:{node.lineno}: a relative import that leaves the package"
            if node.module:
                yield ".".join([*base, node.module])
            else:
                yield from (".".join([*base, alias.name]) for alias in node.names)


def test_the_tests_see_the_sources() -> None:
    assert len(SOURCES) > 20
    assert set(imports("queue/x.py", ast.parse("from . import a\nfrom ..b.c import d\nimport os.path"))) == {
        "parallel_loop.queue.a",
        "parallel_loop.b.c",
        "os.path",
    }


@pytest.mark.parametrize("source", SOURCES)
def test_imports_go_in_the_allowed_direction(source: str) -> None:
    folder = source.partition("/")[0].removesuffix(".py")
    for name in imports(source, parse(source)):
        parts = name.split(".")
        if parts[0] == "parallel_loop":
            assert len(parts) > 1, f"{source} imports the bare package"
            assert parts[1] in MAY_IMPORT[folder], f"{source} imports {name}"
        else:
            assert parts[0] not in {"harness", "coordinator", "worktrees", "tests", "support"}, f"{source}: {name}"


@pytest.mark.parametrize("folder", WITHIN_HARNESS)
def test_folders_of_the_harness_import_no_more_of_it_than_they_need(folder: str) -> None:
    sources = [source for source in SOURCES if source.startswith(f"harness/{folder}/")]
    parts = [name.split(".") for source in sources for name in imports(source, parse(source))]
    assert {part[2] for part in parts if part[:2] == ["parallel_loop", "harness"]} - {folder} == WITHIN_HARNESS[folder]


@pytest.mark.parametrize("source", SOURCES)
def test_each_dependency_has_one_door(source: str) -> None:
    for name in imports(source, parse(source)):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or source.startswith(doors), f"{source} imports {name}; only {doors} may"


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "queue/atomic.py"])
def test_only_atomic_links_replaces_and_flushes(source: str) -> None:
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in ATOMIC_CALLS, f"{source}:{node.lineno}: os.{node.attr}"
        if isinstance(node, ast.Attribute):
            assert node.attr != "hardlink_to", f"{source}:{node.lineno}: {node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & ATOMIC_CALLS, f"{source}:{node.lineno}"


@pytest.mark.parametrize("source", SOURCES)
def test_heavy_libraries_are_imported_where_they_are_used(source: str) -> None:
    tree = parse(source)
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    for name in imports(source, top):
        library = name.split(".")[0]
        if library in LATE:
            raise AssertionError(f"{source} imports {library} at its top")


def test_no_folder_has_an_init_file() -> None:
    found = [path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("__init__.py")]
    assert found == []
    assert not (ROOT / "__init__.py").exists()


def test_every_sub_package_is_listed() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(configuration["tool"]["setuptools"]["packages"])
    folders = {Path(source).parent for source in SOURCES}
    assert listed == {".".join(["parallel_loop", *folder.parts]) for folder in folders}


@pytest.mark.parametrize(
    "command",
    ["import queue; queue.Queue", "import sys; sys.path.insert(0, ''); import queue; queue.SimpleQueue, queue.Empty"],
)
def test_the_standard_librarys_queue_is_found_from_the_repositorys_root(command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_script_shadows_the_standard_library_when_it_is_run_directly() -> None:
    scripts = [path for folder in ("tests", "tests/support", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    assert [path for path in scripts if path.stem in sys.stdlib_module_names] == []
