"""Calls that take functions, and what they take, become smaller together."""

from __future__ import annotations

import sys

import pytest
import torch
from roundtrip import Recording
from torch._higher_order_ops.scan import scan
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from torchcrux.capturing.lower import lower
from torchcrux.capturing.spelling import Spelling
from torchcrux.emit.script import script
from torchcrux.oracle.main_module import main_module
from torchcrux.passes.attention import AsUsersCall, Attention
from torchcrux.passes.base import Draft
from torchcrux.passes.bodies import DropOperand, ReplaceInside, SameOperand, ShrinkBodies
from torchcrux.passes.bypass import ReplaceNode
from torchcrux.passes.inlining import InlineBodies
from torchcrux.passes.inside import NESTED, PLAIN, InBody
from torchcrux.passes.results import Bare, DropOutcome, DropResult, DropSaved, Results
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


def flat(draft):
    """The script in one line."""
    text = " ".join(script(draft.program, draft.context).split())
    return text.replace("( ", "(").replace(" )", ")")


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
    assert DropOperand(call.name, 0, name).apply(draft) == draft


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
    first, second, *_ = Attention().edits(draft)
    public = second.apply(draft)
    assert second == AsUsersCall(first.node, masked=False, scaled=True)
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


def masked(x, documents):
    def same_document(b, h, i, j):
        return (documents[i] == documents[j]) & (i >= j)

    q = x.reshape(1, 2, 2, 4)
    mask = create_block_mask(same_document, None, None, 2, 2, device="cpu")
    return flex_attention(q, q, q, score_mod=lambda s, b, h, i, j: s * 2, block_mask=mask)


def test_a_mask_is_made_as_a_user_makes_it(captured, run):
    documents = torch.tensor([0, 1])
    draft = captured(masked, W, documents)
    want = run(draft, W, documents)
    edit = next(edit for edit in Attention().edits(draft) if edit.masked and not edit.scaled)
    public = edit.apply(draft)
    text = flat(public)
    assert "def score_mod(score, b, h, q_idx, kv_idx):" in text
    assert "def mask_mod(b, h, q_idx, kv_idx):" in text
    assert "create_block_mask(mask_mod, None, None, " in text
    torch.testing.assert_close(run(public, W, documents), want)
    without = [str(edit) for edit in Attention().edits(public)]
    assert without == ["flex_attention without its score_mod", "flex_attention without its mask"]
    for edit in Attention().edits(public):
        public = edit.apply(public)
    text = script(public.program, public.context)
    assert "mod" not in text and "block_mask" not in text and "documents" not in text


def test_a_mask_counts_batches_and_heads_if_it_looks_at_them(captured, run):
    def by_head(x):
        q = x.reshape(2, 2, 2, 2)
        mask = create_block_mask(lambda b, h, i, j: i >= j - h, 2, 2, 2, 2, device="cpu")
        return flex_attention(q, q, q, block_mask=mask)

    draft = captured(by_head, W)
    edit = next(edit for edit in Attention().edits(draft) if edit.masked and not edit.scaled)
    public = edit.apply(draft)
    assert ", None, reshape.size(1), reshape.size(2), reshape.size(2), device=" in flat(public)
    torch.testing.assert_close(run(public, W), run(draft, W))


def steps(x, w):
    def step(carry, rows):
        a, b, c = carry
        total = a + rows[0] * w
        return (total, b * 2 + rows[1], c.clone()), (total.sin(), b + 1)

    start = torch.zeros(4), torch.ones(4), torch.ones(4)
    return scan(step, start, (x, x.cos()))[1][0]


def result_edits(draft):
    return [edit for edit in Results().edits(draft) if isinstance(edit, DropResult)]


def test_a_scan_carries_and_returns_only_what_is_used(captured, run):
    draft = captured(steps, W, V[0])
    want = run(draft, W, V[0])
    while found := result_edits(draft):
        for edit in found:
            draft = edit.apply(draft)
    while idle := edits(draft, DropOperand):
        draft = idle[0].apply(draft)
    (call,) = (call for call in draft.program.calls if call.target.endswith("scan"))
    body, carried, scanned, more = call.args
    assert [len(carried), len(scanned), len(more), len(body.result)] == [1, 1, 1, 2]
    assert len(body.program.calls) == 3
    assert "scan(combine_fn, zeros, x)" in script(draft.program, draft.context)
    assert torch.equal(run(draft, W, V[0]), want)


def test_what_a_step_needs_is_carried(captured):
    draft = captured(steps, W, V[0])
    dropped = {edit.at for edit in result_edits(draft)}
    (call,) = (call for call in draft.program.calls if call.target.endswith("scan"))
    assert 0 in dropped  # nobody takes it
    assert DropResult(call.name, 0).apply(draft) == draft  # but the steps do
    assert DropResult(call.name, 2).apply(draft) != draft


def test_results_of_both_branches_go_together(captured, run):
    def branches(x, y):
        _, second = torch.cond(
            x.sum() > 9, lambda x, y: (x + y, x.sin()), lambda x, y: (x - y, y.cos()), (x, y)
        )
        return second

    draft = captured(branches, W, V)
    want = run(draft, W, V)
    (edit,) = result_edits(draft)
    smaller = edit.apply(draft)
    (call,) = (call for call in smaller.program.calls if call.target.endswith("cond"))
    assert [len(body.result) for body in call.args[1:3]] == [1, 1]
    assert [len(body.program.calls) for body in call.args[1:3]] == [1, 1]
    assert torch.equal(run(smaller, W, V), want)


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, v):
        ctx.save_for_backward(x, w)
        return x * w + v

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad * w.cos().sin(), grad * x, grad


def test_backward_shrinks_and_keeps_only_what_it_uses(captured, run):
    x = W.clone().requires_grad_()
    draft = captured(lambda x, w, v: Scaled.apply(x, w, v), x, V.clone().requires_grad_(), V)
    inside = [edit for edit in edits(draft, ReplaceInside) if edit.place == 1]
    assert inside
    call = draft.program.calls[0]
    grad = call.args[1].program.inputs[0].name
    for edit in inside:
        if edit.by == grad:
            draft = edit.apply(draft)
    saved = [edit for edit in Results().edits(draft) if isinstance(edit, DropSaved)]
    assert len(saved) == 2
    for edit in saved:
        draft = edit.apply(draft)
    text = script(draft.program, draft.context)
    assert "saved" not in text
    y = W.clone().requires_grad_()
    out = run(draft, y, V.clone().requires_grad_(), V)
    out.sum().backward()
    assert torch.equal(y.grad, torch.ones(4, 4))


def test_arguments_in_bodies_go_like_others(captured, run):
    def block(x, w, b):
        return torch.nn.functional.linear(x, w, b) / 0.125

    draft = captured(
        lambda x, w, b: torch.utils.checkpoint.checkpoint(block, x, w, b, use_reentrant=False),
        *(W.clone().requires_grad_(), W, V[0]),
    )
    found = {str(edit).partition(" in a body")[0]: edit for edit in PLAIN.edits(draft)}
    assert all(isinstance(edit, InBody) for edit in found.values())
    without = next(edit for text, edit in found.items() if text.startswith("linear without"))
    plain = next(
        edit for text, edit in found.items() if text.startswith("truediv with 1.0 for 0.125")
    )
    smaller = plain.apply(without.apply(draft))
    (idle,) = edits(smaller, DropOperand)
    smaller = idle.apply(smaller)
    assert torch.equal(run(smaller, W, W), W @ W.T)


def test_bodies_in_bodies_shrink(captured, run):
    def inner(x):
        return torch.cond(x.max() > 1, lambda x: x.sin().cos(), lambda x: x - 1, (x,))

    draft = captured(lambda x: torch.cond(x.sum() > 0, inner, lambda x: x * 2, (x,)), W.abs() + 1)
    found = [edit for edit in NESTED.edits(draft) if "cos" in str(edit)]
    smaller = found[0].apply(draft)
    assert smaller != draft
    assert torch.equal(run(smaller, W.abs() + 1), (W.abs() + 1).sin())


class Several(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin(), x.cos(), x * 2

    @staticmethod
    def backward(ctx, first, second, third):
        (x,) = ctx.saved_tensors
        return second * x


def test_an_autograd_function_returns_only_what_is_used(captured, run):
    draft = captured(lambda x: Several.apply(x)[1], W.clone().requires_grad_())
    found = [edit.at for edit in Results().edits(draft) if isinstance(edit, DropOutcome)]
    assert found == [2, 0]
    for edit in Results().edits(draft):
        draft = edit.apply(draft)
    assert "sin" not in flat(draft)
    x = W.clone().requires_grad_()
    run(draft, x).sum().backward()
    assert torch.equal(x.grad, W)


def test_one_result_stays(captured):
    draft = captured(lambda x: torch.cond(x.sum() > 0, lambda x: (x.sin(), x.cos()),
        lambda x: (x.cos(), x.sin()), (x,)), W)  # fmt: skip
    for _ in range(3):
        for edit in result_edits(draft):
            draft = edit.apply(draft)
    (call,) = (call for call in draft.program.calls if call.target.endswith("cond"))
    assert len(call.args[1].result) == 2  # each is used


@pytest.mark.parametrize("name", ["cond", "checkpoint", "region", "function"])
def test_one_value_is_returned_as_it_is(name, captured, run):
    calls = {
        "cond": lambda x: torch.cond(x.sum() > 9, lambda x: x.sin(), lambda x: x.cos(), (x,)),
        "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(
            lambda x: x.sin().cos(), x, use_reentrant=False
        ),
        "region": lambda x: region(region(x, W, V), W, V),
        "function": lambda x: Scaled.apply(x, W, V),
    }
    draft = captured(lambda x: calls[name](x) * 2, W.clone().requires_grad_())
    for edit in Results().edits(draft):  # the forward may return more than its results
        draft = edit.apply(draft) if isinstance(edit, DropOutcome) else draft
    (edit,) = (edit for edit in Results().edits(draft) if isinstance(edit, Bare))
    bare = edit.apply(draft)
    assert not any("getitem" in call.target for call in bare.program.calls)
    assert "[0]" in flat(draft)
    assert "[0]" not in flat(bare)
    values = [torch.linspace(-1, 1, 16).reshape(4, 4) for _ in bare.program.inputs]
    assert torch.equal(run(bare, *values), run(draft, *values))


def test_the_forward_of_an_autograd_function_takes_its_place(captured, run):
    draft = captured(lambda x: Scaled.apply(x, W, V) * 2, W.clone().requires_grad_())
    (edit,) = InlineBodies().edits(draft)
    inlined = edit.apply(draft)
    text = flat(inlined)
    assert "Function" not in text and "no_grad" not in text
    x = W.clone().requires_grad_()
    run(inlined, x, W, V).sum().backward()
    assert torch.equal(x.grad, 2 * W)
