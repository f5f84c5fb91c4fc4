"""The configuration of a repository, as a test writes it."""

from __future__ import annotations

from pathlib import Path

from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.configuration.settings import Config


def load(root: Path, text: str | bytes, **environ: str) -> Config:
    path = root / "parallel-loop.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path, environ)
