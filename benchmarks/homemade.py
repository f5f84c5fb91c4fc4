"""What one would write oneself with the standard library: a table in SQLite, a JSON file under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from systems import BUSY_SECONDS, Station, System


class PlainSqlite(System):
    """One table in WAL mode; a partial index of what is ready; every claim has a number that fences off late ends."""

    name = "sqlite3"

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        connection = connect(folder / "queue.db", "OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, payload TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
            " generation INTEGER NOT NULL DEFAULT 0, worker TEXT)"
        )
        connection.execute("CREATE INDEX ready ON item (id) WHERE state = 0")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO item (payload) VALUES (?)", [(payload,) for payload in payloads])
        connection.execute("COMMIT")
        connection.close()

    def open(self, folder: Path, durable: bool) -> Station:
        return _SqliteStation(folder / "queue.db", "FULL" if durable else "OFF")


class RelaxedSqlite(PlainSqlite):
    """As durable as this project's queue and no more: claims are not flushed, since a power cut ends their owners."""

    name = "sqlite3-relaxed"
    levels = (True,)

    def open(self, folder: Path, durable: bool) -> Station:
        return _RelaxedSqliteStation(folder / "queue.db", "FULL")


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


class _SqliteStation:
    """One statement for each transition: it takes the write lock at its start, so BEGIN IMMEDIATE adds nothing."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self._connection = connect(path, synchronous)
        self._worker = str(os.getpid())

    def put(self, payload: str) -> None:
        self._connection.execute("INSERT INTO item (payload) VALUES (?)", (payload,))

    def take(self) -> tuple[tuple[int, int], str] | None:
        row = self._connection.execute(
            "UPDATE item SET state = 1, generation = generation + 1, worker = ?"
            " WHERE id = (SELECT id FROM item WHERE state = 0 ORDER BY id LIMIT 1) RETURNING id, generation, payload",
            (self._worker,),
        ).fetchone()
        return None if row is None else ((row[0], row[1]), row[2])

    def complete(self, token: tuple[int, int]) -> bool:
        done = self._connection.execute(
            "UPDATE item SET state = 2 WHERE id = ? AND generation = ? AND state = 1", token
        )
        return done.rowcount == 1


class _RelaxedSqliteStation(_SqliteStation):
    def take(self) -> tuple[tuple[int, int], str] | None:
        self._connection.execute("PRAGMA synchronous = NORMAL")
        taken = super().take()
        self._connection.execute("PRAGMA synchronous = FULL")
        return taken


class JsonFlock(System):
    """A JSON file that every transition reads, changes and replaces under a lock, as task files of this kind do."""

    name = "json-flock"

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        items = [{"payload": payload, "state": "ready", "attempt": 0} for payload in payloads]
        (folder / "queue.json").write_text(json.dumps(items))

    def open(self, folder: Path, durable: bool) -> Station:
        return _JsonStation(folder, durable)


class _JsonStation:
    def __init__(self, folder: Path, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def put(self, payload: str) -> None:
        with self._changing() as items:
            items.append({"payload": payload, "state": "ready", "attempt": 0})

    def take(self) -> tuple[tuple[int, int], str] | None:
        with self._changing() as items:
            for number, item in enumerate(items):
                if item["state"] == "ready":
                    item["state"] = "working"
                    item["attempt"] += 1
                    item["worker"] = os.getpid()
                    return (number, item["attempt"]), item["payload"]
        return None

    def complete(self, token: tuple[int, int]) -> bool:
        number, attempt = token
        with self._changing() as items:
            ours = (items[number]["state"], items[number]["attempt"]) == ("working", attempt)
            if ours:
                items[number]["state"] = "done"
        return ours

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[dict[str, Any]]]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            items = json.loads((self._folder / "queue.json").read_bytes())
            yield items
            with (self._folder / "new.json").open("w") as new:
                new.write(json.dumps(items))
                if self._durable:
                    new.flush()
                    os.fsync(new.fileno())
            (self._folder / "new.json").replace(self._folder / "queue.json")
            if self._durable:
                descriptor = os.open(self._folder, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
