"""Operators are called as users call them, where that is the same."""

from quality_kit import calls, draft, minimal

from torchcrux.program.ir import Slice


def operator(name, *arguments):
    return draft({"x": (3, 3)}, [("y", f"torch.ops.aten.{name}", ("%x", *arguments))])


def test_a_function_of_torch():
    left = minimal(operator("relu.default"), lambda program: bool(program.calls))
    assert left.function == ["return torch.relu(x)"]


def test_a_method_where_torch_has_no_such_function():
    left = minimal(operator("new_zeros.default", [2]), lambda program: bool(program.calls))
    assert left.function == ["return x.new_zeros(1)"]


def test_the_operator_itself_where_only_that_fails():
    left = minimal(operator("relu.default"), lambda program: bool(calls(program, "default")))
    assert left.function == ["return torch.ops.aten.relu.default(x)"]
    assert left.necessary["torch.relu(x) instead of torch.ops.aten.relu.default(x)"] == "passes"


def test_a_view_of_what_is_written_is_the_input_itself():
    start = draft(
        {"x": (4, 6)},
        [
            ("a", "operator.getitem", ["%x", (Slice(0, 2, None), Slice(None, None, None))]),
            ("b", "operator.getitem", ["%x", (Slice(1, 3, None), Slice(None, None, None))]),
            ("z", "torch._foreach_add_", [["%a", "%b"], 1.0]),
        ],
        outputs=("x",),
    )

    def fails(p):
        adds = calls(p, "_foreach_add_")
        return bool(adds) and len(adds[0].args[0]) == 2 and "x" in p.outputs

    assert minimal(start, fails).function == ["torch._foreach_add_([x, x], 1.0)", "return x"]


def test_an_index_has_no_slices_that_do_nothing():
    index = (Slice(0, None, None), Slice(None, None, None))
    start = draft({"x": (3, 4)}, [("y", "operator.getitem", ["%x", index])])
    assert minimal(start, lambda p: bool(calls(p, "getitem"))).function == ["return x[:]"]


def test_what_is_written_to_is_returned_by_the_call_that_writes():
    start = draft({"x": (2,)}, [("y", "add_", ["%x", 1.0])], outputs=("x",))
    left = minimal(start, lambda p: bool(calls(p, "add_")))
    assert left.function == ["return x.add_(1.0)"]


def test_what_has_a_sign_is_written_with_it():
    start = draft(
        {"x": (3,), "y": (3,)},
        [("a", "torch.add", ("%x", "%y")), ("b", "pow", ("%a", 2)), ("c", "torch.neg", ("%b",))],
    )
    left = minimal(start, lambda program: len(program.calls) == 3)
    assert left.function == ["return -((x + x) ** 0)"]


def test_but_not_where_only_the_method_fails():
    start = draft({"x": (3,)}, [("y", "mul", ("%x", 2))])
    left = minimal(
        start, lambda program: bool(calls(program, "mul")) and "operator" not in str(program)
    )
    assert left.function == ["return x.mul(0)"]


def test_an_argument_that_a_sign_has_not_keeps_the_function():
    start = draft({"x": (3,)}, [("y", "torch.div", ("%x", "%x"), {"rounding_mode": "floor"})])
    left = minimal(start, lambda program: any(call.kwargs for call in program.calls))
    assert left.function == ['return torch.div(x, x, rounding_mode="floor")']
