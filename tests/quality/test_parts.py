"""Of values that matter, the part that matters."""

from dataclasses import replace

from quality_kit import calls, draft, minimal

from torchcrux.program.ir import Value

NAN = float("nan")


def test_a_nan_in_the_middle_stays_alone():
    start = draft({"x": (2, 8)}, [("y", "torch.relu", ["%x"])])
    numbers = [float(i) for i in range(16)]
    numbers[11] = NAN
    x = replace(start.program.by_name["x"], value=Value.LITERAL, elements=tuple(numbers))
    asked = []

    def fails(program):
        asked.append(program)
        return bool(calls(program, "relu")) and "nan" in map(str, program.by_name["x"].elements)

    reduced = minimal(start.with_nodes(x=x), fails)
    assert reduced.inputs == ['x = torch.tensor([float("nan")])']
    assert reduced.questions <= 35


def test_inputs_of_equal_size_keep_the_same_part():
    start = draft({"x": (8,), "y": (8,)}, [("z", "torch.add", ["%x", "%y"])])
    some = (0.0, 1.0, 2.0, 3.0, 4.0, NAN, 6.0, 7.0)
    nodes = {
        name: replace(start.program.by_name[name], value=Value.LITERAL, elements=some)
        for name in "xy"
    }

    def fails(program):
        found = [str(node.elements) for node in program.inputs]
        return bool(calls(program, "add")) and len(found) > 0 and all("nan" in one for one in found)

    reduced = minimal(start.with_nodes(**nodes), fails)
    assert reduced.program.elements <= 2
