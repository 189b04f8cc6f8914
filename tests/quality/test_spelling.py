"""Operators are called as users call them, where that is the same."""

from quality_kit import calls, draft, minimal


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
    assert left.necessary["torch.relu for torch.ops.aten.relu.default"] == "passes"
