"""The data file beside a script: tensors gathered from the files where eager's values were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchcrux.emit.script import DATA_FILE


def lay_data(folder: Path, sources: Mapping[str, Sequence[str]]) -> None:
    """As `write_data`, but what one file holds under the same keys is linked, with all else in it:
    a candidate maps into memory what it uses, and shares that with the others."""
    files = [*{file for file, _ in sources.values()}]
    if len(files) == 1 and all(key == name for key, (_, name) in sources.items()):
        (folder / DATA_FILE).symlink_to(files[0])
    else:
        write_data(folder, sources)


def write_data(folder: Path, sources: Mapping[str, Sequence[str]]) -> None:
    """Write ``folder/data.safetensors`` with each key taken from its (file, key) pair."""
    if not sources:
        return
    from safetensors import safe_open
    from safetensors.torch import save_file

    gathered = {}
    by_file: dict[str, list[tuple[str, str]]] = {}
    for key, (file, name) in sources.items():
        by_file.setdefault(file, []).append((key, name))
    for file, pairs in by_file.items():
        with safe_open(file, framework="pt") as stored:
            for key, name in pairs:
                gathered[key] = stored.get_tensor(name)
    partial = folder / f"{DATA_FILE}.partial"
    save_file(gathered, partial)
    partial.replace(folder / DATA_FILE)  # whoever has the one before open reads on in that


def save_data(payload: Mapping[str, Any]) -> None:
    """A task of the pool: `write_data` in another process."""
    write_data(Path(payload["folder"]), payload["data"])
