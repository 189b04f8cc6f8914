"""What is left of calls that take functions."""

from quality_kit import draft, minimal

from torchcrux.passes import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Body, Node, Op, Program, Ref
from torchcrux.program.spec import Tensor

X = Tensor((3,))


def body(inputs, calls, result):
    """A body whose values are all like X. `calls`: (name, target, operand)."""
    nodes = [Node(name, Op.INPUT, spec=X) for name in inputs]
    for name, target, operand in calls:
        nodes.append(Node(name, Op.FUNCTION, target, (Ref(operand),), spec=X))
    program = Program(tuple(nodes), (result,))
    return Body(program, (Ref(result),))


def conditional(yes, no, operands=("x",)):
    inputs = [Node(name, Op.INPUT, spec=X) for name in ("p", "x", "y")]
    total, truth = Tensor(()), Tensor((), "bool")
    nodes = [
        *inputs,
        Node("total", Op.FUNCTION, "torch.sum", (Ref("p"),), spec=total),
        Node("condition", Op.FUNCTION, "operator.gt", (Ref("total"), 0), spec=truth),
        Node(
            "cond",
            Op.FUNCTION,
            "torch.ops.higher_order.cond",
            (Ref("condition"), yes, no, tuple(map(Ref, operands))),
        ),
        Node("item", Op.FUNCTION, "operator.getitem", (Ref("cond"), 0), spec=X),
        Node("out", Op.FUNCTION, "torch.exp", (Ref("item"),), spec=X),
    ]
    return Draft(Program(tuple(nodes), ("out",)), Context())


def everywhere(program):
    """The targets of all calls, in bodies as well."""
    found = []
    for node in program.calls:
        found.append(node.target)
        for arg in node.args:
            if isinstance(arg, Body):
                found += everywhere(arg.program)
    return found


YES = body(["a"], [("b", "torch.sin", "a"), ("c", "torch.cos", "b")], "c")
NO = body(["a"], [("b", "torch.tanh", "a"), ("c", "torch.neg", "b")], "c")


def test_the_operator_goes_if_what_fails_is_in_its_body():
    left = minimal(conditional(YES, NO), lambda program: "torch.tanh" in everywhere(program))
    assert left.function == ["return torch.tanh(x)"]


def test_a_body_shrinks_where_the_operator_is_needed():
    def fails(program):
        found = everywhere(program)
        return "torch.ops.higher_order.cond" in found and "torch.cos" in found

    left = minimal(conditional(YES, NO), fails)
    (cond,) = (node for node in left.program.calls if "cond" in node.target)
    # torch.cond refuses a branch that returns what it was given
    assert [everywhere(arg.program) for arg in cond.args[1:3]] == [["torch.cos"], ["operator.neg"]]


def test_operands_that_no_body_uses_go():
    yes = body(["a", "b"], [("c", "torch.sin", "a")], "c")
    no = body(["a", "b"], [("c", "torch.cos", "a")], "c")
    left = minimal(
        conditional(yes, no, ("x", "y")),
        lambda program: "torch.ops.higher_order.cond" in everywhere(program),
    )
    (cond,) = (node for node in left.program.calls if "cond" in node.target)
    assert len(cond.args[3]) == 1


def test_a_function_over_a_dimension_goes_if_its_body_will_do():
    inner = body(["a"], [("b", "torch.sin", "a")], "b")
    start = draft({"x": (2, 3)}, [("y", "torch.exp", ("%x",))])
    mapped = Node(
        "mapped",
        Op.FUNCTION,
        "torch.vmap",
        (Body(inner.program, Ref("b")), Ref("y")),
        (("in_dims", (0,)),),
        spec=Tensor((2, 3)),
    )
    program = Program((*start.program.nodes, mapped), ("mapped",))
    left = minimal(Draft(program, Context()), lambda program: "torch.sin" in everywhere(program))
    assert left.function == ["return torch.sin(x)"]
