"""Where this machine keeps its store, its stack and its logs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cisterna.rpc.client import Addresses


class UsageError(ValueError):
    """The command cannot be carried out as it was given; exit code 2."""


class Unreachable(RuntimeError):
    """Store or services cannot be reached; exit code 5."""


@dataclass(frozen=True)
class Home:
    """The folder of one machine's Cisterna: ``CISTERNA_HOME``, else ``~/.cisterna``."""

    folder: Path

    @classmethod
    def find(cls) -> Home:
        return cls(Path(os.environ.get("CISTERNA_HOME") or Path.home() / ".cisterna").resolve())

    @property
    def stack(self) -> Path:
        return self.folder / "stack"

    @property
    def logs(self) -> Path:
        return self.stack / "logs"

    @property
    def drivers(self) -> Path:
        """One file per detached driver started here, named after its run, holding its pid."""
        return self.stack / "drivers"

    @property
    def stack_file(self) -> Path:
        return self.stack / "stack.json"

    @property
    def state_file(self) -> Path:
        return self.stack / "state.json"

    def read_stack(self) -> dict[str, Any] | None:
        """What `cisterna up` started, or None where nothing is up."""
        try:
            document: dict[str, Any] = json.loads(self.stack_file.read_text())
        except (OSError, ValueError):
            return None
        return document

    def read_state(self) -> Mapping[str, Any]:
        """What the supervisor says of its processes."""
        try:
            document: dict[str, Any] = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return document

    def store_url(self, given: str | None = None) -> str:
        """The store's URL: the argument, CISTERNA_STORE, the running stack's, else a directory in the home."""
        if given:
            if "://" not in given:
                return f"file://{Path(given).resolve()}"
            return given
        if os.environ.get("CISTERNA_STORE"):
            return os.environ["CISTERNA_STORE"]
        stack = self.read_stack()
        return str(stack["store"]) if stack else f"file://{self.folder / 'store'}"

    def addresses(self) -> Addresses:
        """Addresses of the services: CISTERNA_SERVICES, else the running stack's. Sets the stack's token."""
        text = os.environ.get("CISTERNA_SERVICES")
        if text:
            return Addresses.parse(text)
        stack = self.read_stack()
        if stack is None:
            raise Unreachable("no services: run `cisterna up` here, or set CISTERNA_SERVICES to where they run")
        os.environ.setdefault("CISTERNA_TOKEN", str(stack["token"]))
        return Addresses.parse(str(stack["services"]))


def triton_home() -> Path:
    """Folder of the installed Triton: CISTERNA_TRITON_HOME, else ``.triton`` in the working directory."""
    return Path(os.environ.get("CISTERNA_TRITON_HOME") or ".triton").resolve()
