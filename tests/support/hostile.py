"""What others may put in the place of the queue's files, and the places where they may put it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from parallel_loop.queue.store import Queue

SECRET = "a secret"
TIME = "2026-01-01T00:00:00.000000Z"
GIGABYTE = 2**30
Put = Callable[[Path, Path], object]  # the place, and a file outside of the queue


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, chdir(path.parent):  # a socket's address is short
        server.bind(path.name)


def _filled_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("mine")


def _without_permission(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


KINDS: dict[str, Put] = {
    "nothing": lambda path, _: path.touch(),
    "half a file": lambda path, _: path.write_text('[{"id": "bad", "ti'),
    "garbage": lambda path, _: path.write_bytes(bytes(range(256)) * 8),
    "zeros": lambda path, _: path.write_bytes(bytes(5000)),
    "no UTF-8": lambda path, _: path.write_bytes(b'{"id":"\xff\xfe","title":"\xc0","added_at":""}\n'),
    "deep nesting": lambda path, _: path.write_text("[" * 100_000),
    "deep unknown field": lambda path, _: path.write_text('{"x":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "a newer version": lambda path, _: path.write_text(
        f'{{"id": "bad", "title": "t", "added_at": "{TIME}", "version": 99, "kind": "teleported", "at": "{TIME}"}}'
    ),
    "another item": lambda path, _: path.write_text(f'{{"id": "other", "title": "t", "added_at": "{TIME}"}}'),
    "a way out": lambda path, _: path.write_text(f'{{"id": "../../x", "title": "t", "added_at": "{TIME}"}}'),
    "a huge number": lambda path, _: path.write_text('{"version": 1' + "0" * 5000 + "}"),
    "a gigabyte": lambda path, _: (path.touch(), os.truncate(path, GIGABYTE)),
    "a folder": lambda path, _: path.mkdir(),
    "a filled folder": lambda path, _: _filled_folder(path),
    "a pipe": lambda path, _: os.mkfifo(path),
    "a socket": lambda path, _: _listen(path),
    "a link to a file": lambda path, outside: path.symlink_to(outside),
    "a link to a folder": lambda path, outside: path.symlink_to(outside.parent),
    "a link to itself": lambda path, _: path.symlink_to(path.name),
    "a dangling link": lambda path, outside: path.symlink_to(outside.parent / "nowhere"),
    "without permission": lambda path, _: _without_permission(path),
}
if os.geteuid() == 0:
    KINDS["a device"] = lambda path, _: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: no end

PACK = "2026-01-01T000000.000000Z-01234567"
PLACES: dict[str, Callable[[Queue], Path]] = {
    "item": lambda queue: Path(queue.layout.item("bad")),
    "record": lambda queue: Path(queue.layout.record("bad", 1)),
    "new item": lambda queue: Path(queue.layout.item("good")).with_name("strange.json"),
    "import": lambda queue: queue.layout.imports / "0123456789abcdef.json",
    "pack": lambda queue: queue.layout.packs / f"{PACK}.jsonl",
    "pack to finish": lambda queue: queue.layout.packs / f"{PACK}.unfinished",
    "marker": lambda queue: queue.layout.workers / "agent-9.1.01234567.json",
    "note": lambda queue: queue.layout.workers / "agent-9.1.01234567.held",
    "ready bucket": lambda queue: queue.layout.ready / "5" / "2025-01-01T000000.000000Z",
    "ready priority": lambda queue: queue.layout.ready / "3",
    "delayed hint": lambda queue: queue.layout.delayed / f"{TIME.replace(':', '')}~5~{TIME.replace(':', '')}~ghost~1~",
    "landing hint": lambda queue: queue.layout.landing / f"{TIME.replace(':', '')}~ghost~4",
    "dependents": lambda queue: queue.layout.after / "good",
    "place of a role": lambda queue: queue.layout.wip / "builder.1",
    "draft": lambda queue: queue.layout.drafts / "1-1-1",
    "bell": lambda queue: queue.layout.bell,
    "frontier": lambda queue: queue.layout.frontier,
    "lock of adding": lambda queue: queue.layout.add_lock,
    "format": lambda queue: queue.layout.format,
    "README": lambda queue: queue.layout.root / "README",
    "unknown name": lambda queue: queue.layout.root / "unknown",
    "odd name": lambda queue: queue.layout.root / os.fsdecode(b"odd\xff\n\x1b[31m"),
    "odd name in imports": lambda queue: queue.layout.imports / os.fsdecode(b"odd\xff.json"),
    "odd name among items": lambda queue: Path(queue.layout.item("good")).with_name(os.fsdecode(b"o\xff\n.json")),
    "folder of items": lambda queue: queue.layout.items / "zz",
}


def put(path: Path, what: str, outside: Path) -> bytes | None:
    """Put it there instead of what is there, and return its bytes if it is a small file."""
    outside.parent.mkdir(exist_ok=True)
    outside.write_text(SECRET)
    if path.is_dir() and not path.is_symlink():
        for name in path.iterdir():
            name.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    KINDS[what](path, outside)
    return content(path)


def content(path: Path) -> bytes | None:
    """Return what identifies a file: its kind, and its bytes or where it leads; None when it is gone."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(path.readlink())
    if stat.S_ISREG(status.st_mode):
        return path.read_bytes() if status.st_size < 2**20 else str(status.st_size).encode()
    return str(stat.S_IFMT(status.st_mode)).encode()
