"""Inputs that share memory keep doing so only where it matters."""

import re

from quality_kit import draft, minimal

from torchcrux.emit.script import script
from torchcrux.program.context import Context
from torchcrux.program.dimensions import assigned
from torchcrux.program.literals import Place
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


def in_rows(shape, offset):
    return Tensor(shape, memory="x", offset=offset)


WHOLE = Tensor((5, 6), memory="x", base=True)


def viewed(**views):
    calls = [
        ("a", "add_", ("%x", 1)),
        *((f"s{i}", "torch.sin", (f"%{name}",)) for i, name in enumerate(views)),
    ]
    outputs = [f"s{i}" for i in range(len(views))]
    return draft({**views, "x": WHOLE}, calls, outputs)


def within(program):
    x, y = (program.by_name.get(name) for name in "xy")
    shared = x and y and x.spec.base and y.spec.memory == x.spec.memory
    return shared and "a" in program.by_name and 0 < y.spec.offset < x.spec.elements


def test_a_view_of_an_input_is_written_as_one():
    left = minimal(viewed(y=in_rows((4, 6), 6)), within)
    assert left.inputs == ["x = torch.ones(2)", "y = x[1:]"]


def test_the_views_of_one_input():
    views = {
        "rows": in_rows((2, 6), 12),
        "row": in_rows((6,), 24),
        "part": in_rows((3,), 7),
        "columns": Tensor((5, 2), strides=(6, 1), memory="x", offset=1),
    }
    text = script(viewed(**views).program, Context())
    assert [line.partition(" = ")[2] for line in text.splitlines() if re.match(r"\w+ = ", line)][
        :5
    ] == [
        "torch.randn(5, 6)",
        "x2[2:4]",
        "x2[4]",
        "x2.view(-1)[7:10]",
        "x2.as_strided((5, 2), (6, 1), 1)",
    ]


def test_a_copy_of_an_input_has_views_as_well():
    text = script(viewed(y=in_rows((4, 6), 6)).program, Context(changes=True), accuracy=True)
    lines = text.splitlines()
    at = lines.index("expected = f(*inputs), inputs")
    assert lines[at - 1] == "inputs = copy.deepcopy([x, y])"
    assert lines[at + 1 : at + 4] == [
        "base = y.clone()",
        "inputs = [base[1:], base]",
        "actual = torch.compile(f, backend=backend)(*inputs), inputs",
    ]


def test_an_input_without_views_stands_in_its_place():
    views = draft({"y": (2,), "x": Tensor((2,), base=True)}, [("z", "torch.sub", ("%y", "%x"))])
    text = script(views.program, Context())
    assert text.splitlines()[-1].endswith("(torch.randn(2), torch.randn(2))")


def test_only_views_move_with_what_they_are_views_of():
    start = draft(
        {"x": Tensor((4, 6), base=True), "y": Tensor((4,), offset=7)},
        [("a", "torch.sin", ("%x",)), ("z", "torch.cos", ("%y",))],
        outputs=("a", "z"),
    )
    program = assigned(start.program, {Place("x", ("shape", 1)): 1})
    assert program.by_name["x"].spec.shape == (4, 1)
    assert program.by_name["y"].spec.offset == 7
