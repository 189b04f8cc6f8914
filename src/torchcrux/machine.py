"""What a compiler found out about this machine, kept from run to run.

Its test programs take seconds to build and never change: the compiler names their files by its own
version, its flags and torch's version, and looks at a file before it builds one.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from importlib import metadata
from pathlib import Path

_LOCKS = "locks"


def kept() -> Path:
    """The folder, one for each version of torch; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "torchcrux" / "probes" / f"torch-{metadata.version('torch')}"


def recall(cache: Path) -> None:
    """Copy what was kept into `cache`, a compiler's. Less is found out anew where that fails."""
    with suppress(OSError, shutil.Error):
        shutil.copytree(kept(), cache, dirs_exist_ok=True)


def keep(cache: Path) -> None:
    """Copy the files of `cache` that are not kept yet; whole or not at all, each. A home that
    cannot be written to keeps nothing."""
    folder = kept()
    with suppress(OSError):
        for file in cache.rglob("*"):
            place = folder / file.relative_to(cache)
            if not file.is_file() or _LOCKS in place.parts or place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_name(f".{place.name}.{os.getpid()}")
            shutil.copyfile(file, partial)
            partial.replace(place)
