"""What the passes promise of sizes, dtypes, arguments and data. Eager is real here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from quality_kit import calls, draft, minimal, shape

from torchcrux.passes.numbers import NumberInputs
from torchcrux.program.ir import Ref, Value
from torchcrux.program.spec import Tensor

F = "torch.nn.functional"


def has(*names):
    return lambda program: all(calls(program, name) for name in names)


def test_one_operation_on_one_element():
    start = draft({"x": (2, 24, 128)}, [("y", f"{F}.gelu", ["%x"], {"approximate": "tanh"})])
    reduced = minimal(start, lambda p: has("gelu")(p) and p.calls[0].kwargs)
    assert reduced.function == ['return torch.nn.functional.gelu(x, approximate="tanh")']
    assert reduced.inputs == ["x = torch.ones(1)"]
    assert reduced.necessary == {'gelu without approximate="tanh"': "passes"}
    assert reduced.questions <= 10


@pytest.mark.parametrize("least", [3, 17, 100])
def test_the_smallest_size_that_fails_and_the_one_below_it_that_passes(least):
    start = draft({"x": (4, 128)}, [("y", "torch.cumsum", ["%x", 1])])
    reduced = minimal(start, lambda p: has("cumsum")(p) and max(shape(p, "x")) >= least)
    assert reduced.inputs == [f"x = torch.ones({least})"]
    assert reduced.necessary[f"x of shape ({least},) → ({least - 1},)"] == "passes"
    assert sum("of shape" in words for words in reduced.necessary) == 1  # told once
    assert reduced.questions <= 35


@pytest.mark.parametrize(
    ("wanted", "view"),
    [((1, 1, 1, 1), "view(1)"), ((1, 1, 1, 8), "view(8)"), ((1, 1, 4, 1), "view(4, 1)")],
)
def test_heads_and_head_size_shrink_with_their_product(wanted, view):
    start = draft({"x": (2, 16, 32)}, [("y", "view", ["%x", 2, 16, 4, 8])])

    def fails(p):
        if not p.calls or p.calls[0].target != "view":
            return False
        sizes = p.calls[0].args[1:]
        padded = (1,) * (4 - len(sizes)) + sizes
        return all(have >= least for have, least in zip(padded, wanted, strict=True))

    reduced = minimal(start, fails)
    assert reduced.function == [f"return x.{view}"]


def test_a_square_of_sizes():
    start = draft(
        {"x": (2, 3, 8, 8)},
        [("y", "reshape", ["%x", 2, 3, 64]), ("z", "torch.sin", ["%y"])],
    )
    reduced = minimal(start, lambda p: has("sin")(p) and p.by_name["z"].spec.elements >= 4)
    assert reduced.program.operations == 1
    assert reduced.program.elements == 4


def test_sizes_that_are_equal_by_chance_part():
    start = draft({"x": (8, 8), "y": (8, 8)}, [("z", "torch.matmul", ["%x", "%y"])])
    reduced = minimal(
        start, lambda p: has("matmul")(p) and p.by_name[p.calls[0].name].spec.elements >= 5
    )
    assert reduced.program.by_name["z"].spec.elements == 5
    assert reduced.program.elements == 6


def test_an_index_stays_inside_the_table():
    index = Tensor((4, 7), dtype="int64", low=0, high=999)
    start = draft(
        {"index": index, "weight": (1000, 16)}, [("y", f"{F}.embedding", ["%index", "%weight"])]
    )
    reduced = minimal(start, has("embedding"))
    assert reduced.inputs == [
        "x = torch.zeros(1, dtype=torch.int64)",
        "weight = torch.ones(1, 1)",
    ]


def test_parts_of_a_split_add_up():
    start = draft(
        {"x": (4, 12)},
        [("y", "torch.split", ["%x", [5, 7], 1]), ("z", "operator.getitem", ["%y", 0])],
    )
    reduced = minimal(start, has("split"))
    assert reduced.program.elements <= 2


def test_a_convolution_with_stride_and_padding():
    start = draft(
        {"x": (2, 6, 16, 16), "weight": (12, 3, 3, 3), "bias": (12,)},
        [("y", "torch.conv2d", ["%x", "%weight", "%bias", (2, 2), (1, 1), (1, 1), 2])],
    )
    reduced = minimal(start, has("conv2d"))
    assert reduced.function == ["return torch.conv2d(x, weight)"]
    assert reduced.program.elements == 2


def test_what_a_convolution_needs_stays():
    start = draft(
        {"x": (2, 6, 16, 16), "weight": (12, 6, 3, 3), "bias": (12,)},
        [("y", "torch.conv2d", ["%x", "%weight", "%bias", (2, 2), (1, 1)])],
    )

    def fails(p):
        args = p.calls[0].args if has("conv2d")(p) else ()
        return len(args) > 3 and args[3] in (2, (2, 2))

    reduced = minimal(start, fails)
    assert reduced.function == ["return torch.conv2d(x, weight, None, 2)"]


def test_normalisation_alone():
    start = draft(
        {"x": (2, 5, 32), "weight": (32,), "bias": (32,)},
        [("y", f"{F}.layer_norm", ["%x", (32,), "%weight", "%bias", 1e-5])],
    )
    reduced = minimal(start, has("layer_norm"))
    assert reduced.function == ["return torch.nn.functional.layer_norm(x, (1,))"]
    assert reduced.inputs == ["x = torch.ones(1)"]


def test_all_inputs_of_a_call_change_their_dtype_together():
    half = {"dtype": "bfloat16"}
    start = draft(
        {"x": Tensor((4, 8), **half), "weight": Tensor((2, 8), **half)},
        [("y", f"{F}.linear", ["%x", "%weight"])],
    )
    assert all("dtype" not in line for line in minimal(start, has("linear")).inputs)

    def fails(p):
        return has("linear")(p) and p.inputs[0].spec.dtype == "bfloat16"

    reduced = minimal(start, fails)
    assert all("dtype=torch.bfloat16" in line for line in reduced.inputs)
    assert reduced.necessary["x and weight: bfloat16 → float32"] == "passes"


def test_nothing_becomes_empty_and_nothing_warns():
    start = draft(
        {"x": (4, 6)},
        [("y", f"{F}.softmax", ["%x"], {"dim": -1}), ("z", "torch.topk", ["%y", 3])],
    )
    reduced = minimal(start, has("softmax", "topk"))
    assert reduced.function == ["return torch.topk(torch.nn.functional.softmax(x, dim=-1), 1)"]


def test_an_operation_in_the_middle_is_bypassed():
    start = draft(
        {"x": (4,)},
        [("a", "torch.sin", ["%x"]), ("b", "torch.tanh", ["%a"]), ("c", "torch.cos", ["%b"])],
    )

    def fails(p):
        """A cosine of something that a sine is in: cutting between them is no way."""
        above, names = set(), {node.name for node in calls(p, "sin")}
        for node in p.calls:
            if set(node.references()) & (above | names):
                above.add(node.name)
        return any(node.name in above for node in calls(p, "cos"))

    reduced = minimal(start, fails)
    assert reduced.function == ["return torch.cos(torch.sin(x))"]


def test_a_view_of_a_shared_input_is_bypassed():
    start = draft(
        {"x": (3,), "y": (3, 2)},
        [("a", "torch.sin", ["%x"]), ("b", "torch.unsqueeze", ["%x", 1]),
         ("c", "torch.mul", ["%y", "%b"])],
        outputs=["a", "c"],
    )  # fmt: skip

    def fails(p):
        """A sine and a product of the same values."""
        same = {node.name: node.name for node in p.inputs}
        for node in calls(p, "unsqueeze"):
            same[node.name] = same.get(*node.references(), node.name)
        of_sine = {same.get(name) for node in calls(p, "sin") for name in node.references()}
        return any(
            same.get(name, node) in of_sine
            for node in calls(p, "mul")
            for name in node.references()
        )

    reduced = minimal(start, fails)
    assert "unsqueeze" not in " ".join(reduced.function)


def test_a_seed_only_where_the_numbers_matter():
    start = draft({"x": (3,)}, [("y", "torch.sin", ["%x"])])
    reduced = minimal(
        start, lambda p: has("sin")(p) and all(n.value is Value.RANDOM for n in p.inputs)
    )
    assert reduced.inputs == ["torch.manual_seed(0)", "x = torch.randn(1)"]
    assert reduced.necessary["x all ones"] == "passes"
    assert reduced.necessary["x all zeros"] == "passes"


def test_zeros_where_ones_do_not_fail():
    start = draft({"x": (3,)}, [("y", "torch.sin", ["%x"])])
    reduced = minimal(
        start, lambda p: has("sin")(p) and all(n.value is not Value.ONES for n in p.inputs)
    )
    assert reduced.inputs == ["x = torch.zeros(1)"]


def test_two_inputs_alike_become_one():
    start = draft({"x": (3,), "y": (3,)}, [("z", "operator.add", ["%x", "%y"])])
    reduced = minimal(start, has("add"))
    assert reduced.function == ["return x + x"]


def test_a_transposed_input_shrinks_and_stays_transposed():
    start = draft({"x": Tensor((6, 8), strides=(1, 6))}, [("y", "torch.sin", ["%x"])])

    def fails(p):
        return has("sin")(p) and any(not node.spec.is_contiguous for node in p.inputs)

    assert minimal(start, fails).inputs == ["x = torch.ones(2, 2).t()"]


def test_what_is_computed_twice_is_computed_once():
    start = draft(
        {"x": (4,)},
        [
            ("a", "torch.arange", (4,)),
            ("b", "torch.arange", (4,)),
            ("y", "torch.add", ("%a", "%x")),
            ("z", "torch.mul", ("%y", "%b")),
        ],
    )
    left = minimal(start, lambda program: calls(program, "mul") and calls(program, "arange"))
    assert len(calls(left.program, "arange")) == 1
    both = minimal(start, lambda program: len(calls(program, "arange")) == 2)
    assert both.necessary["one torch.arange(1) instead of two"] == "passes"


def test_a_size_that_only_a_call_has_is_the_smallest_that_fails():
    start = draft({}, [("a", "torch.arange", (100,)), ("y", "torch.sin", ("%a",))])

    def fails(p):
        made = calls(p, "arange")
        return bool(made) and made[0].args[0] >= 17

    reduced = minimal(start, fails)
    assert reduced.function == ["return torch.arange(17)"]
    assert reduced.necessary["torch.arange(16) instead of torch.arange(17)"] == "passes"


@pytest.mark.parametrize(("dtype", "kind"), [("float32", float), ("int64", int), ("bool", bool)])
def test_an_input_of_one_value_becomes_a_number(dtype, kind):
    start = draft(
        {"m": Tensor((3,), "bool"), "x": Tensor((3,), dtype), "y": Tensor((3,), dtype)},
        [("c", "torch.where", ["%m", "%x", "%y"])],
    )

    def fails(p):
        """Operands that are not the same."""
        operands = [
            [one for one in node.args if isinstance(one, Ref)] for node in calls(p, "where")
        ]
        used = [[one.name for one in listed] for listed in operands]
        return any(len(names) == len({*names}) > 1 for names in used)

    (call,) = minimal(start, fails).program.calls
    assert len({*call.references()}) == 2
    assert [type(arg) for arg in call.args if not isinstance(arg, Ref)] == [kind]


def test_numbers_leave_a_call_a_tensor():
    start = draft({"x": (1,), "y": (1,)}, [("c", "torch.add", ["%x", "%y"])])
    ones = [replace(node, value=Value.ONES) for node in start.program.inputs]
    start = start.with_nodes(**{node.name: node for node in ones})
    first, second = NumberInputs().edits(start)
    assert second.apply(first.apply(start)) == first.apply(start)
    assert second.apply(start) != start


def test_an_input_that_must_be_a_tensor_stays_one():
    start = draft({"x": (3, 3), "y": (3, 3)}, [("c", "torch.matmul", ["%x", "%y"])])
    reduced = minimal(start, lambda p: bool(p.calls) and len({*p.calls[-1].references()}) == 2)
    assert reduced.function == ["return x @ y"]
    assert "0 in the place" not in " ".join(reduced.necessary)
