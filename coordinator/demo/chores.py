"""Writes the pages of the demo that are about the whole repository, each from the source text or the history.

A script of its own, copied into the demo's repository: `python chores.py TOOL`, with the item's prompt on standard
input. Only the standard library and git. The tables are in the order of their first column, which the check demands.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

PAGES = Path("docs/demo")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_TOP = "(top level)"


def measure() -> None:
    """Every module in numbers."""
    rows = []
    for path in _modules():
        lines = path.read_text(encoding="utf-8").splitlines()
        code = sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in lines)
        functions = [node for node in ast.walk(_parse(path)) if isinstance(node, _FUNCTIONS)]
        longest = max(((node.end_lineno or 0) - node.lineno + 1 for node in functions), default=0)
        rows.append((f"`{path}`", len(lines), code, len(functions), longest))
    head = ("module", "lines", "without blank lines and comments", "functions", "lines of the longest")
    _write("measurements.md", "# Measurements", _table(head, rows))


def graph() -> None:
    """Which folder imports which, how often."""
    edges = Counter((_folder(path), to) for path in _modules() for to in _imported_folders(path) if to != _folder(path))
    rows = [(f"{a} imports {b}", count) for (a, b), count in sorted(edges.items())]
    arrows = [f"    {_node(a)} -->|{count}| {_node(b)}" for (a, b), count in sorted(edges.items())]
    picture = "\n".join(["```mermaid", "graph TD", *arrows, "```"])
    _write("import-graph.md", "# Import graph", _table(("edge", "times"), rows), picture)


def imports() -> None:
    """Whether the imports at the head of every module are sorted."""
    rows = []
    for path in _modules():
        found = [key for node in _parse(path).body for key in _import_keys(node)]
        wrong = next((after for before, after in pairwise(found) if after < before), None)
        rows.append((f"`{path}`", len(found), "sorted" if wrong is None else f"`{wrong[-1]}` is out of order"))
    _write("imports.md", "# Order of the imports", _table(("module", "imports", "order"), rows))


def words() -> None:
    """The words that the docstrings use most, with the first module that uses each."""
    count: Counter[str] = Counter()
    first: dict[str, Path] = {}
    for path in _modules():
        documented = (ast.Module, ast.ClassDef, *_FUNCTIONS)
        texts = [ast.get_docstring(node) or "" for node in ast.walk(_parse(path)) if isinstance(node, documented)]
        for word in re.findall(r"[a-z]{5,}", " ".join(texts).lower()):
            count[word] += 1
            first.setdefault(word, path)
    rows = sorted((word, times, f"`{first[word]}`") for word, times in count.most_common(60))
    _write("words.md", "# Words of the docstrings", _table(("word", "times", "first in"), rows))


def history() -> None:
    """The commits, how much each changed."""
    rows = []
    for commit in _git("log", "-60", "--no-merges", "--numstat", "--format=%x01%cs%x02%h%x02%s").split("\x01")[1:]:
        head, *changes = commit.splitlines()
        date, name, subject = head.split("\x02")
        numbers = [change.split("\t")[:2] for change in changes if change]
        added, removed = (sum(int(pair[i]) for pair in numbers if pair[i].isdigit()) for i in (0, 1))
        rows.append((f"{date} {name}", subject, added, removed))
    _write("history.md", "# History", _table(("commit", "subject", "lines added", "removed"), sorted(rows)))


def layout() -> None:
    """Fill the section of the overview on what lies where, and when it changed last."""
    folders: dict[str, list[str]] = {}
    for path in _modules():
        folders.setdefault(_folder(path), []).append(_git("log", "-1", "--format=%cs", "--", str(path)))
    rows = [(f"`{folder}`", len(dates), max(dates)) for folder, dates in sorted(folders.items())]
    _fill_section("Layout", _table(("folder", "modules", "changed last"), rows))


def figures() -> None:
    """Fill the section of the overview with whose lines are how old."""
    lines: Counter[tuple[str, str]] = Counter()
    author = ""
    for path in _modules():
        for line in _git("blame", "-s", "--line-porcelain", "--", str(path)).splitlines():
            key, _, value = line.partition(" ")
            if key == "author":
                author = value
            elif key == "summary":
                lines[author, value] += 1
    rows = sorted((author, subject, count) for (author, subject), count in lines.most_common(12))
    _fill_section("Figures", _table(("lines by", "in the commit", "lines"), rows))


def summary() -> None:
    """The longest modules: first the way one would like to read it, and as the check wants it after it has said so."""
    prompt = sys.stdin.read()
    sized = sorted(((path.read_text(encoding="utf-8").count("\n"), f"`{path}`") for path in _modules()), reverse=True)
    rows = [(name, lines) for lines, name in sized[:12]]
    if "summary.md" in prompt and "not sorted" in prompt:
        rows.sort()
    elif rows == sorted(rows):
        rows.reverse()
    _write("summary.md", "# The longest modules", _table(("module", "lines"), rows))


def contents() -> None:
    """Fill the last section of the overview with links to everything else."""
    pages = [page.relative_to(PAGES) for page in sorted(PAGES.rglob("*.md")) if page.name != "overview.md"]
    _fill_section("Where to read on", "\n".join(f"- [{page.with_suffix('')}]({page})" for page in pages))


def _modules() -> list[Path]:
    """Return the package's modules: no tests, no benchmarks, not these tools, nothing hidden."""
    left_out = {"tests", "benchmarks", "tools"}
    found = (path for path in Path().rglob("*.py") if not any(part.startswith(".") for part in path.parts))
    return sorted((path for path in found if path.parts[0] not in left_out), key=lambda path: f"`{path}`")


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def _folder(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else _TOP


def _node(folder: str) -> str:
    return "top" if folder == _TOP else folder


def _imported_folders(path: Path) -> Iterator[str]:
    """Yield the folder of each module of ours that `path` imports."""
    for node in ast.walk(_parse(path)):
        if not isinstance(node, ast.ImportFrom):
            continue
        parts = (node.module or "").split(".")
        if node.level:
            base = list(path.parts[: -node.level])
            parts = [*base, *parts] if node.module else [*base, node.names[0].name]
        elif parts.pop(0) != "parallel_loop":
            continue
        if parts:
            yield parts[0] if Path(parts[0]).is_dir() else _TOP


def _import_keys(node: ast.stmt) -> Iterator[tuple[int, bool, int, str]]:
    """Yield by what an import at the head of a module is sorted: its kind, `import` first, far relatives first."""
    if isinstance(node, ast.ImportFrom):
        name = "." * node.level + (node.module or "")
        yield _kind(name), True, -node.level, name
    elif isinstance(node, ast.Import):
        yield from ((_kind(alias.name), False, 0, alias.name) for alias in node.names)


def _kind(name: str) -> int:
    top = name.split(".", maxsplit=1)[0]
    return 0 if top == "__future__" else 1 if top in sys.stdlib_module_names else 2 if top else 3


def _git(*argv: str) -> str:
    argv = ("git", "-c", "log.showSignature=false", *argv)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    return done.stdout.decode(errors="replace").strip()


def _write(name: str, *parts: str) -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / name).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def _fill_section(heading: str, text: str) -> None:
    """Replace what stands below `heading` of the overview, up to the next heading."""
    page = PAGES / "overview.md"
    before, mark, rest = page.read_text(encoding="utf-8").partition(f"## {heading}\n")
    after = rest.partition("\n## ")
    page.write_text(f"{before}{mark}\n{text}\n{after[1]}{after[2]}", encoding="utf-8")


TOOLS = (measure, graph, imports, words, history, layout, figures, summary, contents)

if __name__ == "__main__":
    {tool.__name__: tool for tool in TOOLS}[sys.argv[1]]()
