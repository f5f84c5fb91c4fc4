"""The configuration, `parallel-loop.yaml`: typed, complete, and checked before anything else happens.

Guarantees: a Config that `load_config` returns is usable as it stands: every value is in range, every program that
is named is known, every placeholder has a meaning. Everything else is a ConfigError of one line that names file, line
and key. Assumes: nothing; the file is the user's and may hold anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from .config_checks import check
from .documents import MAX_DOCUMENT_BYTES, Document, DocumentError, decode, read_with_lines
from .schema import Invalid, dotted, read_struct
from .settings import MAX_AGENTS, Config, ConfigError
from .wording import shown

__all__ = ["Config", "ConfigError", "load_config"]

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration in `path`, or the defaults where there is no such file.

    PARALLEL_MODE and PARALLEL_AGENTS in `environ` count more than the file. Raises ConfigError.
    """
    source = _name_of(path)
    try:
        document = _read(path, source)
    except DocumentError as error:
        raise ConfigError(error.path, error.line, "", error.problem) from None
    value = {} if document.value is None else document.value
    try:
        config = read_struct(Config, value)
        check(config, path.parent)
    except Invalid as error:
        raise ConfigError(source, document.line(error.path), dotted(error.path), error.problem) from None
    return _overridden(structs.replace(config, source=source), environ)


def _name_of(path: Path) -> str:
    """Return the name that a reader can open from where they are."""
    with contextlib.suppress(ValueError, FileNotFoundError):  # elsewhere; or the current directory was deleted
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _read(path: Path, source: str) -> Document:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise ConfigError(source, None, "", "not a regular file; move it away or replace it with a file")
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            problem = "links to a file that is not there; restore that or remove the link"
            raise ConfigError(source, None, "", problem) from None
        return Document(None, {})
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); correct its permissions or place"
        raise ConfigError(source, None, "", problem) from None
    return read_with_lines(decode(data, source, MAX_DOCUMENT_BYTES), source)


def _overridden(config: Config, environ: Mapping[str, str]) -> Config:
    mode = environ.get("PARALLEL_MODE", "").strip().lower()
    if mode and mode not in _FLAGS:
        problem = f"must be true or false, not {shown(mode)}; set it again or unset it"
        raise ConfigError("PARALLEL_MODE", None, "", problem)
    agents = environ.get("PARALLEL_AGENTS", "").strip()
    count = int(agents) if agents.isascii() and agents.isdigit() and len(agents) < 9 else 0
    if agents and not 1 <= count <= MAX_AGENTS:
        problem = f"must be a whole number from 1 to {MAX_AGENTS}, not {shown(agents)}; set it again or unset it"
        raise ConfigError("PARALLEL_AGENTS", None, "", problem)
    return structs.replace(
        config,
        parallel_mode=_FLAGS[mode] if mode else config.parallel_mode,
        agents=count if agents else config.agents,
        file_agents=config.agents,
    )
