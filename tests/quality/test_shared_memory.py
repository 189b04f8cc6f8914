"""Inputs that share memory keep doing so only where it matters."""

from quality_kit import draft, minimal

from torchcrux.program.spec import Tensor


def two(x, y):
    return draft(
        {"x": x, "y": y},
        [("s", "torch.sin", ("%y",)), ("a", "add_", ("%x", 1)), ("z", "torch.mul", ("%a", "%s"))],
    )


def lying(offset, size):
    return Tensor((size,), memory="x", offset=offset)


def overlap(program):
    x, y = (node.spec for node in program.inputs)
    both = x.memory and x.memory == y.memory
    return both and x.offset < y.offset + y.shape[0] and y.offset < x.offset + x.shape[0]


def test_memory_that_does_not_matter_is_not_shared():
    left = minimal(two(lying(0, 6), lying(3, 6)), lambda program: program.by_name.get("a"))
    assert "base" not in left.text
    assert not any(node.spec.memory or node.spec.offset for node in left.program.inputs)


def test_memory_that_matters_is_as_small_as_can_be():
    def fails(program):
        return {"x", "y"} <= program.by_name.keys() and "a" in program.by_name and overlap(program)

    left = minimal(two(lying(4, 6), lying(7, 6)), fails)
    assert left.inputs == ["base = torch.ones(1)", "x = base[:1]", "y = base[:1]"]
    assert left.necessary["y does not share memory with x"] == "passes"


def test_an_offset_that_matters_stays():
    start = draft({"x": Tensor((4,), offset=3)}, [("y", "torch.sin", ("%x",))])
    left = minimal(start, lambda program: program.inputs[0].spec.offset)
    assert left.inputs == ["x = torch.ones(2)[1:2]"]
