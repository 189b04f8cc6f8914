"""Which calls a message names, and which of them it means."""

import pytest

from torchcrux.oracle.failure import Failure, Kind, Stage
from torchcrux.oracle.hints import hinted
from torchcrux.passes.base import Draft
from torchcrux.program.context import Context
from torchcrux.program.ir import Node, Op, Origin, Program, Ref
from torchcrux.program.spec import Tensor


def hints(message, kernel="", traceback=""):
    calls = [
        ("gelu", "torch.nn.functional.gelu", {}, (2, 8), 10),
        ("gelu_1", "torch.nn.functional.gelu", {"approximate": "tanh"}, (2, 8), 11),
        ("relu", "torch.relu", {}, (2, 8), 12),
        ("gelu_2", "torch.nn.functional.gelu", {}, (4, 8), 13),
    ]
    nodes = [Node("x", Op.INPUT, spec=Tensor((2, 8)))]
    nodes += [
        Node(name, Op.FUNCTION, target, (Ref("x"),), tuple(kwargs.items()), Tensor(shape),
             origin=Origin("model.py", line, ""))
        for name, target, kwargs, shape, line in calls
    ]  # fmt: skip
    draft = Draft(Program(tuple(nodes), ("gelu_2",)), Context())
    failure = Failure(
        Kind.COMPILE_ERROR, Stage.BACKEND, (("E", message),), (), traceback=traceback, kernel=kernel
    )
    return hinted(draft, failure)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("no lowering", []),
        ("relu has no lowering", [2]),
        ("gelu has no lowering", [0, 1, 3]),
        ("gelu with approximate='tanh' has no lowering", [1, 0, 3]),
        ("cannot fuse gelu_2 into its user", [3, 0, 1]),
        ("gelu failed\\n  File model.py, line 11, in forward", [1, 0, 3]),
        ("gelu of size [4, 8]", [3, 0, 1]),
    ],
)
def test_the_call_that_is_meant_comes_first(message, found):
    assert hints(message) == found


FOUND_FROM = """gelu has no lowering
Found from :
   File "model.py", line 12, in forward
    x = relu(x)
  File "lib.py", line 10, in gelu
  File "model.py", line 13, in forward
    return gelu(x)
"""


def test_the_stack_trace_that_torch_appends_says_it_best():
    assert hints(FOUND_FROM) == [3, 0, 1]
    assert hints(FOUND_FROM.replace("line 13", "line 12")) == [2, 0, 1, 3]


def test_generated_code_says_what_it_called():
    name = "c" + "ab23" * 12 + "xyz"
    traceback = f"""  File "/tmp/torchinductor_me/ab/{name}.py", line 13, in call
    aten.relu_(buf5, reinterpret_tensor(buf5, (1, 3)))
  File "/lib/torch/_ops.py", line 1, in __call__
    return torch.ops.aten.gelu(x)
"""
    assert hints("elements refer to one location", traceback=traceback) == [2]
    assert hints("elements refer to one location", traceback=traceback.replace(name, "mine")) == []
