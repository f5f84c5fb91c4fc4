"""What `doctor` finds: the form of it, shared by its checks."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Verdict = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One thing that was looked at; `remedy` is what to do, None where nothing has to be done."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str | None = None


def ok(name: str, detail: str) -> Finding:
    return Finding(name, "ok", detail)


def warn(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name, "warn", detail, remedy)


def fail(name: str, detail: str, remedy: str | None) -> Finding:
    return Finding(name, "fail", detail, remedy)


def failed_with(name: str, error: Exception | str) -> Finding:
    """Turn an error of ours into a finding: its text ends with what to do, after the last semicolon."""
    detail, mark, remedy = str(error).rpartition("; ")
    return fail(name, detail, remedy) if mark else fail(name, remedy, None)
