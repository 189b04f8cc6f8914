"""A case: a folder with a captured program, its context, its failure and its input values.

    case.json            program, context, failure, versions, notes
    inputs.safetensors   the value of each tensor input, by node name, dense and row-major

Nothing in it is ever evaluated or unpickled, and it is read without importing torch.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchcrux.oracle.failure import Failure
from torchcrux.program.context import Context
from torchcrux.program.ir import Program
from torchcrux.program.serial import (
    MalformedProgram,
    context_from_json,
    context_to_json,
    program_from_json,
    program_to_json,
)
from torchcrux.program.spec import stored_under

if TYPE_CHECKING:
    import torch

SCHEMA = 1
CASE_FILE = "case.json"
INPUTS_FILE = "inputs.safetensors"
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format


class CaseError(ValueError):
    """The folder holds no readable case; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Case:
    """`program` and `context` are None for a failure that arose before there was a graph.

    `aliases` are groups of inputs that shared memory. `stored` are the inputs whose values are in
    `inputs`. `notes` say what could not be captured, in sentences for the user.
    """

    folder: Path
    program: Program | None
    context: Context | None
    failure: Failure
    versions: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[tuple[str, ...], ...] = ()
    stored: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> Path:
        """The safetensors file with the input values."""
        return self.folder / INPUTS_FILE

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Case:
        """Read a case folder. Raises CaseError if it is missing, damaged or of a newer version."""
        path = Path(folder)
        data = _read_json(path / CASE_FILE)
        if data.get("schema") != SCHEMA:
            raise CaseError(
                f"{path / CASE_FILE} has schema {data.get('schema')!r}; this version of torchcrux"
                f" reads schema {SCHEMA}"
            )
        try:
            program = data["program"] and program_from_json(data["program"])
            context = data["context"] and context_from_json(data["context"])
            failure = Failure.from_json(data["failure"])
            aliases = tuple(tuple(group) for group in data["aliases"])
            notes = tuple(str(note) for note in data["notes"])
            versions = dict(data["versions"])
        except (MalformedProgram, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CaseError(f"{path / CASE_FILE} is damaged: {error}") from error
        stored: frozenset[str] = frozenset()
        if program:
            stored = _stored_names(path / INPUTS_FILE)
            known = (stored_under(node.name, node.spec) for node in program.inputs)
            unknown = sorted(stored.difference(*known))
            if unknown:
                raise CaseError(
                    f"{path / INPUTS_FILE} holds {unknown[0]!r}, which is no input of the program"
                )
        return cls(path, program, context, failure, versions, aliases, stored, notes)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The stored input values, dense and row-major, on the CPU. Imports torch."""
        from safetensors.torch import load_file

        return load_file(self.inputs)


def write(
    folder: str | os.PathLike[str],
    program: Program | None,
    context: Context | None,
    failure: Failure,
    tensors: Mapping[str, torch.Tensor],
    *,
    notes: tuple[str, ...] = (),
    stored: Path | None = None,
) -> Case:
    """Write a case folder; it appears complete or not at all.

    Tensors that have no dense form (sparse, quantized, subclasses) are left out, with a note.
    `stored` is a file that `store` wrote, to be used instead of `tensors`. Imports torch only if
    there are tensors. Raises FileExistsError if `folder` exists.
    """
    path = Path(folder)
    if path.exists():
        raise FileExistsError(f"{path} exists; a case is never overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        lost: list[str] = []
        if stored is not None:
            shutil.copyfile(stored, partial / INPUTS_FILE)
        elif program is not None:
            lost = store(partial / INPUTS_FILE, tensors)
        data = {
            "schema": SCHEMA,
            "program": program and program_to_json(program),
            "context": context and context_to_json(context),
            "failure": failure.to_json(),
            "versions": versions(),
            "aliases": _aliases(tensors),
            "notes": [*notes, *lost],
        }
        text = json.dumps(data, indent=1)
        (partial / CASE_FILE).write_text(text, encoding="utf-8")
        partial.chmod(0o755)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Case.load(path)


def store(file: Path, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Write input values as a case keeps them; a sentence for each that has no dense form."""
    if not tensors:
        file.write_bytes((8).to_bytes(8, "little") + b"{}".ljust(8))
        return []
    from torchcrux.capturing.forms import form_of
    from torchcrux.tensorfile import save

    dense: dict[str, torch.Tensor] = {}
    lost: list[str] = []
    for name, tensor in tensors.items():
        reason = _no_dense_form(tensor)
        if reason:
            lost.append(f"The value of the input {name} was not kept: {reason}.")
        else:
            dense[name] = form_of(tensor).dense
    save(file, dense)
    return lost


def versions() -> dict[str, str]:
    """Versions of what is loaded in this process, without importing anything for it."""
    found = {"python": sys.version.split()[0]}
    for name in ("torch", "triton", "numpy"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found


def _no_dense_form(tensor: torch.Tensor) -> str:
    """Why a tensor cannot be stored; empty if it can."""
    from torchcrux.capturing.forms import form_of, is_fake
    from torchcrux.tensorfile import storable

    if is_fake(tensor):
        return "it has no data"
    form = form_of(tensor)
    if form.lost:
        return f"it is {form.lost}"
    if form.dense.dtype not in storable():
        return f"{form.dense.dtype} has no place in a safetensors file"
    return ""


def _aliases(tensors: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """Names of inputs that share a storage, in groups of two or more."""
    if not tensors:
        return []
    import torch

    groups: dict[tuple[str, int], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or hasattr(tensor, "fake_mode"):
            continue
        if tensor.__class__ not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
            continue
        pointer = tensor.untyped_storage().data_ptr()
        if pointer:
            groups.setdefault((str(tensor.device), pointer), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CaseError(f"{path.parent} is not a case: it has no {path.name}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(f"{path} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise CaseError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise CaseError(f"{path} is damaged: it holds no JSON object")
    return data


def _stored_names(path: Path) -> frozenset[str]:
    """The names in a safetensors file, from its header; also checks that the file is whole."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= _LONGEST_HEADER:
                raise CaseError(f"{path} is damaged: it has no safetensors header")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            if path.stat().st_size != 8 + length + end:
                raise CaseError(f"{path} is damaged: it is not as long as its header says")
    except OSError as error:
        raise CaseError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CaseError):
            raise
        raise CaseError(f"{path} is damaged: {error}") from error
    return frozenset(header)
