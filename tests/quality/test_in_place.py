"""What is written in place is a new value, where that fails as well."""

from quality_kit import calls, draft, minimal


def test_an_activation_in_place():
    start = draft(
        {"x": (3, 3)},
        [
            ("y", "torch.sin", ("%x",)),
            ("z", "torch.nn.functional.relu", ("%y",), {"inplace": True}),
        ],
    )
    left = minimal(start, lambda program: bool(calls(program, "relu")))
    assert left.function == ["return torch.nn.functional.relu(x)"]


def test_a_method_in_place_whose_operand_is_used_later():
    start = draft(
        {"x": (3, 3)},
        [
            ("y", "torch.sin", ("%x",)),
            ("z", "mul_", ("%y", 3.0)),
            ("out", "torch.tanh", ("%y",)),
        ],
    )

    def fails(program):
        tanh = calls(program, "tanh")
        return bool(tanh) and any(
            node.target in ("mul", "mul_") and tanh[0].args[0].name in (node.name, "y")
            for node in program.calls
        )

    assert minimal(start, fails).function == ["return torch.tanh(x.mul(3.0))"]


def test_what_must_be_written_stays_and_is_told():
    start = draft({"x": (3, 3)}, [("z", "relu_", ("%x",))], outputs=("x",))
    left = minimal(start, lambda program: bool(calls(program, "relu_")))
    assert "relu_" in left.text
    assert left.necessary["x.relu() instead of x.relu_()"] == "passes"
