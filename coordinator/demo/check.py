"""The check of the demo: is what its items wrote below docs/demo/ true and in order?

A script of its own, copied into the demo's repository and run there by `checks:` before anything lands. It shares no
code with the tools that write the pages, since a mistake in shared code would be made on both sides. Only the standard
library, and quick: it runs twice for every item.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PAGES = Path("docs/demo")
SECTIONS = ["## Layout", "## Figures", "## Where to read on"]
_SOURCE = re.compile(r"^Source: `([^`]+)`", re.MULTILINE)
_LISTED = re.compile(r"^## `([\w.]+)", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)


def problems() -> Iterator[str]:
    """Look at everything below the current directory; each problem is one line that names the file."""
    yield from _syntax()
    for page in sorted(PAGES.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if _CONFLICT.search(text):
            yield f"{page}: a conflict was left in it"
        yield from _tables(page, text)
        yield from _links(page, text)
        if page.parent.name == "reference" and page.name != "README.md":
            yield from _reference(page, text)
        if page.name == "overview.md":
            yield from _overview(page, text)


def _syntax() -> Iterator[str]:
    """Every Python file can be parsed; those below tests/ are left out for speed, no item writes there."""
    for path in sorted(Path().rglob("*.py")):
        if path.parts[0] != "tests" and not path.parts[0].startswith("."):
            try:
                ast.parse(path.read_bytes(), str(path))
            except (SyntaxError, ValueError) as error:
                yield f"{path}: does not compile: {error}"


def _tables(page: Path, text: str) -> Iterator[str]:
    """The rows of each table are in the order of their first column."""
    before, row = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        row = row + 1 if line.startswith("|") else 0
        if row <= 2:  # no table, its head, or the rule below the head
            before = ""
            continue
        first = line.split("|")[1].strip()
        if first < before:
            yield (
                f"{page}:{number}: the table is not sorted: {first} comes after {before}; "
                "rows go in the order of their first column"
            )
        before = first


def _links(page: Path, text: str) -> Iterator[str]:
    for target in _LINK.findall(text):
        if "://" not in target and not (page.parent / target).is_file():
            yield f"{page}: the link to {target} leads nowhere"


def _reference(page: Path, text: str) -> Iterator[str]:
    """A reference page names a module and lists all its public functions, classes and methods, and no other."""
    source = _SOURCE.search(text)
    if source is None or not Path(source[1]).is_file():
        yield f"{page}: names no existing module as its source"
        return
    wanted, listed = set(_public(Path(source[1]))), set(_LISTED.findall(text))
    for name in sorted(wanted - listed):
        yield f"{page}: {name} of {source[1]} is missing"
    for name in sorted(listed - wanted):
        yield f"{page}: lists {name}, which is not in {source[1]}"


def _public(path: Path) -> Iterator[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # reported already
        return
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name
            inside = node.body if isinstance(node, ast.ClassDef) else []
            yield from (f"{node.name}.{m.name}" for m in inside if isinstance(m, kinds) and not m.name.startswith("_"))


def _overview(page: Path, text: str) -> Iterator[str]:
    found = [line for line in text.splitlines() if line.startswith("## ")]
    if found != SECTIONS:
        yield f"{page}: its sections are {', '.join(found) or 'gone'} instead of {', '.join(SECTIONS)}"


def main() -> int:
    """Print every problem; exit code 1 when there is one."""
    found = list(problems())
    sys.stdout.writelines(f"{problem}\n" for problem in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
