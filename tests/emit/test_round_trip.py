"""What a script prints gives the compiler the graph that it was given, and computes the same."""

from __future__ import annotations

import pytest
import roundtrip
import torch
import torch.nn.functional as F
from roundtrip import round_trip
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

from torchcrux.capturing.spelling import Spelling

W = torch.linspace(-1, 1, 16).reshape(4, 4)


@pytest.fixture(scope="module")
def spelling():
    return Spelling()


def example():
    return torch.linspace(-2, 2, 16).reshape(4, 4).clone()


class Functions:
    """Things a user writes, one after another."""

    def named_tuple(x):
        found = torch.max(x, dim=1)
        return found.values, found.indices + 1

    def in_place(x):
        y = x.clone()
        y += 1
        y.mul_(2)
        y[0] = 3.0
        y[..., 1:] = y[:, :-1].clone()
        y[y > 0] = 0
        y.data.add_(1)
        return y

    def an_input_is_changed(x):
        x.add_(1)
        return x[0] * 2

    def out_argument(x):
        made = torch.empty(4, 4)
        torch.add(x, 1, out=made)
        return made

    def indices(x):
        i = torch.tensor([0, 2])
        return x[i], x[:, i], x[None, ..., i], x[i, :, None], x[(i, i)], x[::2, 1], x[...], x[True]

    def casts(x):
        y = x.to(torch.float16).to("cpu", torch.float64).type(torch.int32).long()
        return y, x.to(dtype=torch.bfloat16, memory_format=torch.preserve_format)

    def numbers_without_a_literal(x):
        return torch.full((2,), float("nan")), x * float("inf"), x.masked_fill(x > 0, -float("inf"))

    def operators(x):
        y = (x > 0) & (x < 1) | ~(x == 1) ^ (x != 1)
        return -x, +x, abs(x), x // 2, 2 - x, x**2, x**-2, 2**x, x % 2, x @ x, y

    def random(x):
        return F.dropout(x, 0.5, True), torch.randn_like(x), torch.randint(0, 4, (2,))

    def scopes(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = x @ x
            with torch.no_grad():
                z = x * 2
        return y, z + x

    def several_of_one(x):
        a, b = x.chunk(2)
        c, *d = x.unbind(0)
        return a @ b.T, c, d, None, a

    def sizes(x):
        n = m = x.shape[0]
        n += 1
        return torch.zeros(n, m) + x.sum(), x.view(-1, n - 1, 2), max(n, 3) // 2 + x

    def buffers(x):
        return F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True)

    def padded(x):
        return F.pad(x, (0, 1), "constant", 2.0)

    def lstm(x):
        zero = torch.zeros(1, 1, 4)
        weights = [torch.ones(16, 4), torch.ones(16, 4)]
        return torch.lstm(x[None], (zero, zero), weights, False, 1, 0.0, False, False, True)

    def tensor_methods_as_functions(x):
        return torch.Tensor.add(x, 1), torch.Tensor.view(x, -1), torch.Tensor.__add__(x, 2)


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("name", [name for name in vars(Functions) if name[0] != "_"])
def test_a_function_comes_back(name, dynamic, spelling):
    function = getattr(Functions, name)
    assert round_trip(function, example(), dynamic=dynamic, spelling=spelling)


class TwoGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x.sin() * w

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad * x.cos() * w, None


@torch.compiler.nested_compile_region
def region(x):
    return torch.relu(x) + 1


def mapped(function, x):
    from torch._higher_order_ops.map import map as over

    return over(function, x, W[0])


def scanned(function, x, init=None):
    from torch._higher_order_ops.scan import scan

    return scan(function, torch.zeros(4) if init is None else init, x)


class HigherOrder:
    """Calls that take functions, with variables from around them."""

    def cond(x):
        return torch.cond(x.sum() > 0, lambda x: (x @ W).sin(), lambda x: x.cos() * 2, (x,))

    def cond_in_cond(x):
        def inner(x):
            return torch.cond(x.max() > 1, lambda x: x + W, lambda x: x - 1, (x,))

        return torch.cond(x.sum() > 0, inner, lambda x: x * 2, (x,)) + 1

    def cond_in_a_scope(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.cond(x.sum() > 0, lambda x: x @ x, lambda x: x @ x.cos(), (x,))

    def while_loop(x):
        return torch.while_loop(
            lambda i, x: i < 3, lambda i, x: (i + 1, x @ W), (torch.tensor(0), x)
        )

    def checkpoint(x):
        return checkpoint(lambda x: torch.sigmoid(x @ W).relu(), x, use_reentrant=False) + 1

    def checkpoint_in_checkpoint(x):
        def outer(x):
            return checkpoint(torch.sin, x * 2, use_reentrant=False) @ W

        return checkpoint(outer, x, use_reentrant=False)

    def autograd_function(x):
        return TwoGradients.apply(x * 2, W) + 1

    def nested_region(x):
        return region(x) + region(x * 2)

    def map(x):
        return mapped(lambda row, w: row.sin() + w, x)

    def scan(x):
        return scanned(lambda carry, row: (carry + row, carry * row), x)

    def map_of_several(x):
        return mapped(lambda rows, w: (rows[0] + w, rows[1].sin()), (x, x + 1))

    def scan_of_several(x):
        def step(carry, row):
            a, b = carry
            total = a + row * W[0]
            return (total, b * 2 + a), (total.sin(), b + row)

        return scanned(step, x, (torch.zeros(4), torch.ones(4)))

    def scan_of_two_sequences(x):
        def step(carry, rows):
            return carry + rows[0], rows[1] * carry

        return scanned(step, (x, x * 2))

    def flex_attention(x):
        q = x.reshape(1, 1, 4, 4)
        return flex_attention(q, q, q, score_mod=lambda score, b, h, i, j: score + (i - j))

    def flex_attention_with_a_mask(x):
        q = x.reshape(1, 1, 4, 4)
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 4, 4, device="cpu")
        return flex_attention(q, q, q, block_mask=mask)

    def vmap(x):
        return torch.vmap(lambda a, b: (a.sin().sum() * b).sum(), in_dims=(1, None))(x, W)

    def vmap_of_several(x):
        return torch.vmap(lambda a: (a.sin(), a + W), out_dims=(1, 0))(x)

    def vmap_in_vmap(x):
        return torch.vmap(lambda a: torch.vmap(lambda b: a * b)(x[0]))(x)

    def vmap_with_random(x):
        return torch.vmap(lambda a: a + torch.rand(4), randomness="different")(x)

    def grad(x):
        return torch.func.grad(lambda a: a.sin().sum())(x)

    def grad_of_two_and_more(x):
        def loss(a, b):
            return (a.sin() * b * W).sum(), a.cos()

        return torch.func.grad(loss, argnums=(0, 1), has_aux=True)(x, x * 2)

    def grad_and_value(x):
        return torch.func.grad_and_value(lambda a: a.sin().sum())(x)

    def grad_in_grad(x):
        return torch.func.grad(lambda a: torch.func.grad(lambda b: (b**3).sum())(a).sum())(x)

    def grad_of_each(x):
        return torch.vmap(torch.func.grad(lambda a, b: (a.sin() * b).sum()), in_dims=(0, None))(
            x, W
        )

    def jvp(x):
        return torch.func.jvp(torch.sin, (x,), (x,))

    def jvp_of_grad(x):
        return torch.func.jvp(torch.func.grad(lambda a: (a.sin() @ W).sum()), (x,), (x,))[1]

    def vjp(x):
        (one, two), back = torch.func.vjp(lambda a, b: (a.sin() @ W, b.cos()), x, x * 2)
        return (one, *back((one, two)))

    def jacrev(x):
        return torch.func.jacrev(lambda a: a.sin() @ W)(x)

    def hessian(x):
        return torch.func.hessian(lambda a: (a.sin() @ W).sum())(x)


@pytest.mark.parametrize("name", [name for name in vars(HigherOrder) if name[0] != "_"])
def test_a_call_that_takes_functions_comes_back(name, spelling):
    x = example().requires_grad_("checkpoint" in name or "autograd" in name)
    text = round_trip(getattr(HigherOrder, name), x, spelling=spelling)
    assert "_functorch" not in text


def basis_with_offsets(tensors, tensor_numels, chunk_size=None):
    """As in torch 2.11: where the diagonals start is computed with tensors."""
    starts = (0, *torch.tensor(tensor_numels).cumsum(dim=0)[:-1].neg().unbind())
    total = sum(tensor_numels)
    chunks = tuple(tensor.new_zeros(total, n) for tensor, n in zip(tensors, tensor_numels))
    for chunk, start in zip(chunks, starts):
        chunk.diagonal(start).fill_(1)
    yield tuple(chunk.view(total, *tensor.shape) for chunk, tensor in zip(chunks, tensors))


@pytest.mark.parametrize("name", ["jacrev", "hessian"])
def test_a_jacobian_is_known_as_older_versions_trace_it(name, spelling, monkeypatch):
    import torch._functorch.eager_transforms as transforms

    monkeypatch.setattr(transforms, "_chunked_standard_basis_for_", basis_with_offsets)
    (text,) = round_trip(getattr(HigherOrder, name), example(), spelling=spelling)
    assert "torch.func.jacrev(" in text
    assert "cumsum" not in text


INPUTS = {
    "conjugated": lambda: torch.tensor([1 + 2j, 3 - 1j]).conj(),
    "expanded": lambda: torch.arange(3.0).reshape(3, 1).expand(3, 4),
    "overlapping": lambda: torch.arange(6.0).as_strided((3, 3), (1, 1)),
    "transposed": lambda: torch.arange(6.0).reshape(2, 3).t(),
    "permuted": lambda: torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "channels last": lambda: torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "empty": lambda: torch.empty(0, 3),
    "scalar": lambda: torch.tensor(2.0),
    "with gaps": lambda: torch.arange(8.0)[::2],
    "with an offset": lambda: torch.arange(10.0)[3:6],
    "float8": lambda: torch.arange(3.0).to(torch.float8_e4m3fn),
    "uint16": lambda: torch.ones(3, dtype=torch.uint16),
    "bool": lambda: torch.tensor([True, False]),
    "a parameter": lambda: torch.nn.Parameter(torch.ones(2, 2)),
    "no leaf": lambda: torch.ones(2, 2, requires_grad=True) * 2,
}


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_comes_back(name, spelling):
    assert round_trip(lambda x: x.clone(), INPUTS[name](), spelling=spelling)


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ("torch.relu(x)", "torch.relu(x).clone()", "graph"),
        ("torch.relu(x)", "torch.nn.functional.relu6(x)", "graph"),
        ("torch.relu(x)", "torch.rely(x)", "script"),
        (
            "return x + 1, torch.relu(x) * 2",
            "y, z = x + 1, torch.relu(x) * 2; return z, y",
            "outputs",
        ),
    ],
)
def test_the_kit_sees_what_is_wrong(before, after, part, monkeypatch, spelling):
    original = roundtrip.script

    def wrong(*args, **kwargs):
        text = original(*args, **kwargs)
        assert before in text
        return text.replace(before, after)

    monkeypatch.setattr(roundtrip, "script", wrong)
    with pytest.raises(roundtrip.Differs) as raised:
        round_trip(lambda x: (x + 1, torch.relu(x) * 2), example(), spelling=spelling)
    assert raised.value.part == part
