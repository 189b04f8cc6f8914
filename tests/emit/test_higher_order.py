"""Calls that take functions, and what they take, become smaller together."""

from __future__ import annotations

import sys

import pytest
import torch
from roundtrip import Recording
from torch.nn.attention.flex_attention import flex_attention

from torchcrux.capturing.lower import lower
from torchcrux.capturing.spelling import Spelling
from torchcrux.emit.script import script
from torchcrux.oracle.main_module import main_module
from torchcrux.passes.attention import Attention, Unmasked
from torchcrux.passes.base import Draft
from torchcrux.passes.bodies import DropOperand, ReplaceInside, SameOperand, ShrinkBodies
from torchcrux.passes.bypass import ReplaceNode
from torchcrux.program.context import Backend, Context

W = torch.linspace(-1, 1, 16).reshape(4, 4)


@pytest.fixture(scope="module")
def spelling():
    return Spelling()


@pytest.fixture
def captured(spelling):
    def draft(function, *args):
        torch._dynamo.reset()
        recording = Recording()
        torch.compile(function, backend=recording)(*args)
        (call,) = recording.calls
        program = lower(call.gm, call.args, spelling).program
        return Draft(program, Context(Backend("eager")))

    return draft


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What the function of a draft's script returns for some values."""

    def result(draft, *args):
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        text = script(draft.program, draft.context)
        path = tmp_path / "script.py"
        path.write_text(text)  # where Dynamo looks for it
        module = main_module(path)
        exec(compile(text, str(path), "exec"), module.__dict__)
        return module.f(*args)

    return result


@torch.compiler.nested_compile_region
def region(x, w, v):
    return torch.sigmoid(x) @ w + v


def twice(x, w, v):
    return region(region(x, w, v), w, v)


V = W.cos()


def edits(draft, kind):
    return [edit for edit in ShrinkBodies().edits(draft) if isinstance(edit, kind)]


def bodies(draft):
    return [call.args[0] for call in draft.program.calls if "invoke_subgraph" in call.target]


def test_calls_of_one_region_change_together(captured, run):
    draft = captured(twice, W, W.sin(), V)
    smaller = edits(draft, ReplaceInside)[0].apply(draft)
    one, other = bodies(smaller)
    assert one == other != bodies(draft)[0]
    assert torch.equal(run(smaller, W, W.sin(), V), (W @ W.sin() + V) @ W.sin() + V)


def test_operands_alike_in_all_calls_become_one(captured, run):
    draft = captured(twice, W, W.sin(), V)
    assert edits(draft, SameOperand) == []
    last = draft.program.inputs[-1].name
    draft = ReplaceNode(last, draft.program.inputs[-2].name, "").apply(draft)
    (same,) = edits(draft, SameOperand)
    smaller = same.apply(draft)
    assert [len(body.program.inputs) for body in bodies(smaller)] == [2, 2]
    assert torch.equal(run(smaller, W, V), run(draft, W, V))


def test_an_operand_that_is_used_stays(captured):
    draft = captured(twice, W, W.sin(), V)
    name = bodies(draft)[0].program.inputs[2].name
    call = next(call for call in draft.program.calls if bodies(draft)[0] in call.args)
    assert DropOperand(call.name, name).apply(draft) == draft


def test_each_operand_may_stand_in_for_a_call(captured):
    draft = captured(lambda x, w: torch.utils.checkpoint.checkpoint(
        lambda a, b: a.sin() + b.cos(), x, w, use_reentrant=False), W.clone().requires_grad_(), W
    )  # fmt: skip
    (body,) = (arg for arg in draft.program.calls[0].args if hasattr(arg, "program"))
    added = body.program.calls[-1].name
    instead = [edit.by for edit in edits(draft, ReplaceInside) if edit.name == added]
    assert instead == [call.name for call in body.program.calls[:2]]


def attends(x, slopes):
    q = x.reshape(1, 1, 4, 4)
    return flex_attention(q, q, q, score_mod=lambda s, b, h, i, j: s.tanh() + slopes[h], scale=0.3)


def test_attention_is_called_as_a_user_does(captured, run):
    slopes = torch.tensor([0.5])
    draft = captured(attends, W, slopes)
    first, second = Attention().edits(draft)
    public = second.apply(draft)
    assert second == Unmasked(first.node, scaled=True)
    text = script(public.program, public.context)
    assert "flex_attention(out, out, out, score_mod=" in text.replace("reshape", "out")
    assert "scale=0.3" in text
    assert "torch.ops" not in text
    want = run(draft, W, slopes)
    torch.testing.assert_close(run(public, W, slopes), want)
    assert "scale" not in script(first.apply(draft).program, draft.context)

    shrunk = edits(public, ReplaceInside)
    assert any("tanh" in edit.name for edit in shrunk)
    for edit in shrunk:
        if "add" in edit.name:
            public = edit.apply(public)
    (idle,) = edits(public, DropOperand)
    assert "slopes" not in script(idle.apply(public).program, public.context)
