"""Writes the reference pages of the demo: one for each module, from its own docstrings, and their index.

A script of its own, copied into the demo's repository: `python reference.py MODULE`, or `INDEX`. Only the standard
library and git. What a page says is read from the source text and its history, and measured; nothing is made up.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGES = Path("docs/demo/reference")
_MEASUREMENTS = 5
_KINDS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# The repository is the package: its root takes the place of the installed one.
_IMPORT = """
import importlib, sys, time, types
package = types.ModuleType("parallel_loop")
package.__path__ = ["."]
sys.modules["parallel_loop"] = package
start = time.perf_counter()
importlib.import_module(sys.argv[1])
print(time.perf_counter() - start)
"""


def write_page(module: str) -> None:
    """Write what the module offers in its own words, who uses it, when it changed last, what importing it costs."""
    path = Path(module)
    tree = ast.parse(path.read_bytes(), module)
    users = {user: _names(user) for user in _sources() if user != path}
    parts = [
        f"# {module}",
        f"Source: `{module}`, last changed in {_last_change('--', module)}. {_import_cost(path)}",
        _quote(ast.get_docstring(tree)),
    ]
    for name, node in _public(tree):
        arguments = "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
        used = [str(user) for user, names in users.items() if node.name in names]
        shown = ", ".join(used[:6]) + (f" and {len(used) - 6} more" if len(used) > 6 else "")
        changed = _last_change(f"-L{node.lineno},{node.end_lineno}:{module}")
        parts += [f"## `{name}{arguments}`", _quote(ast.get_docstring(node))]
        parts.append(f"The name occurs in {shown or 'no other file'}. Last changed in {changed}.")
    _write("-".join(path.with_suffix("").parts), parts)


def write_index() -> None:
    """Write the list of all reference pages, with the first line of each module's docstring."""
    lines = []
    for page in sorted(PAGES.glob("*.md")):
        said = re.search(r"^> (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
        if page.name != "README.md":
            lines.append(f"- [{page.stem}]({page.name}): {said[1] if said else ''}")
    _write("README", ["# Reference", "\n".join(lines)])


def _write(name: str, parts: list[str]) -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _sources() -> list[Path]:
    found = (path for path in Path().rglob("*.py") if not any(part.startswith(".") for part in path.parts))
    return sorted(path for path in found if path.parts[0] != "tools")


def _public(tree: ast.Module) -> Iterator[tuple[str, _Definition]]:
    """Yield functions and classes, and the methods of these as `Class.method`."""
    for node in tree.body:
        if isinstance(node, _KINDS) and not node.name.startswith("_"):
            yield node.name, node
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, _KINDS) and not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", member


def _names(path: Path) -> set[str]:
    """Return every name that the file uses."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.add(node.name)
    return found


def _quote(text: str | None) -> str:
    """Return a docstring's first paragraph as a quotation."""
    paragraph = (text or "(says nothing about itself)").strip().split("\n\n")[0]
    return "\n".join(f"> {line.strip()}" for line in paragraph.splitlines())


def _last_change(where: str, *more: str) -> str:
    """Return commit and date of the last change to a file (`--`, path) or to some of its lines (`-Lfrom,to:path`)."""
    argv = ["git", "-c", "log.showSignature=false", "log", "-1", "--no-patch", "--format=%h of %cs", where, *more]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=True)
    return done.stdout.strip()


def _import_cost(path: Path) -> str:
    """Measure the import in fresh interpreters; the first one makes the byte code and does not count."""
    name = ".".join(("parallel_loop", *path.with_suffix("").parts))
    seconds = []
    for _ in range(1 + _MEASUREMENTS):
        argv = [sys.executable, "-P", "-c", _IMPORT, name]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return "It cannot be imported alone."
        seconds.append(float(done.stdout))
    milliseconds = 1000 * statistics.median(seconds[1:])
    return f"Importing it took {milliseconds:.0f} ms (the median of {_MEASUREMENTS} fresh interpreters)."


def main(arguments: list[str]) -> int:
    """Write the page of one module, or with `INDEX` the index."""
    if arguments == ["INDEX"]:
        write_index()
    else:
        write_page(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
