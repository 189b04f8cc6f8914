"""A case folder is complete or not there, and is read without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from torchcrux import case
from torchcrux.capturing.lower import lower
from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.program.context import Backend, Context

FAILURE = Failure(Kind.COMPILE_ERROR, Stage.BACKEND, (("X", "message"),), ("a.py:f",))


def example():
    class Example(torch.nn.Module):
        def forward(self, x, y, z, s):
            return torch.relu(x) + y.sum() + z.sum() + s

    gm = torch.fx.symbolic_trace(Example())
    base = torch.arange(12.0).reshape(3, 4)
    values = [base.t(), base[0], torch.ones(2, dtype=torch.complex64).conj(), 5]
    lowered = lower(gm, values)
    return lowered.program, lowered.tensors


def test_round_trip(tmp_path):
    program, tensors = example()
    context = Context(
        Backend("b", source="def b(): ..."),
        options=(("x", [1, (2, 3)]), ("y", float("inf"))),
        config=("torch._dynamo.config.verbose = True",),
    )
    written = case.write(tmp_path / "a" / "case", program, context, FAILURE, tensors, notes=("n",))
    loaded = case.Case.load(tmp_path / "a" / "case")
    assert loaded == written
    assert loaded.program == program
    assert loaded.context == context
    assert loaded.failure == FAILURE
    assert loaded.notes == ("n",)
    assert loaded.versions["torch"] == torch.__version__
    assert loaded.aliases == (("x", "y"),)
    assert loaded.stored == {"x", "y", "z"}
    for name, tensor in loaded.tensors().items():
        assert tensor.is_contiguous()
        torch.testing.assert_close(tensor, tensors[name].resolve_conj().contiguous())
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["case"]


def test_reading_needs_no_torch(tmp_path):
    program, tensors = example()
    case.write(tmp_path / "case", program, Context(), FAILURE, tensors)
    text = (
        f"import sys; sys.path[:] = {sys.path!r}; from torchcrux.case import Case;"
        f"c = Case.load({str(tmp_path / 'case')!r}); assert c.program.operations;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path):
    program, tensors = example()
    case.write(tmp_path / "case", program, Context(), FAILURE, tensors)
    with pytest.raises(FileExistsError):
        case.write(tmp_path / "case", program, Context(), FAILURE, tensors)
    bad = Context(options=(("x", object()),))
    with pytest.raises(ValueError, match="object"):
        case.write(tmp_path / "other", program, bad, FAILURE, tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["case"]


class Tagged(torch.Tensor):
    pass


def test_tensors_without_a_dense_form_are_noted(tmp_path):
    program, _ = example()
    values = {
        "w": torch.ones(2).as_subclass(Tagged),
        "x": torch.eye(3).to_sparse(),
        "y": torch.ones(2),
        "z": torch.ones(2, device="meta"),
    }
    written = case.write(tmp_path / "case", program, Context(), FAILURE, values)
    assert written.stored == {"x", "y"}
    assert len(written.notes) == 2
    assert "of class Tagged" in written.notes[0]


def cut_short(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DAMAGE = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()], "has no case.json"),
    "json cut short": (lambda f: cut_short(f / "case.json"), "case.json is damaged"),
    "a list": (lambda f: (f / "case.json").write_text("[]"), "no JSON object"),
    "other schema": (lambda f: (f / "case.json").write_text('{"schema": 99}'), "schema 99"),
    "keys gone": (lambda f: (f / "case.json").write_text('{"schema": 1}'), "damaged"),
    "not text": (lambda f: (f / "case.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "inputs cut short": (lambda f: cut_short(f / "inputs.safetensors"), "safetensors is damaged"),
    "inputs a byte short": (
        lambda f: (f / "inputs.safetensors").write_bytes(
            (f / "inputs.safetensors").read_bytes()[:-1]
        ),
        "not as long",
    ),
    "inputs gone": (lambda f: (f / "inputs.safetensors").unlink(), "cannot be read"),
    "inputs empty": (lambda f: (f / "inputs.safetensors").write_bytes(b""), "no safetensors"),
    "inputs garbage": (
        lambda f: (f / "inputs.safetensors").write_bytes(b"\x04" + b"\0" * 7 + b"[1] "),
        "damaged",
    ),
    "an edited program": (
        lambda f: (f / "case.json").write_text(
            json.dumps({**json.loads((f / "case.json").read_text()), "program": {"nodes": 3}})
        ),
        "damaged",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_named(tmp_path, damage, words):
    program, tensors = example()
    case.write(tmp_path / "case", program, Context(), FAILURE, tensors)
    damage(tmp_path / "case")
    with pytest.raises(case.CaseError, match=words):
        case.Case.load(tmp_path / "case")
