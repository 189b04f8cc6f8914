"""What goes wrong on an accelerator is blamed on the graph that started it.

Here the accelerator is played by `torch.accelerator`: once it has stopped, whatever waits for it
raises what torch raises then.
"""

from __future__ import annotations

import pytest

from torchcrux.capturing import standby
from torchcrux.capturing.script import Ending, run_script
from torchcrux.oracle.failure import Kind, Stage, is_of_device

pytestmark = pytest.mark.usefixtures("warm_start")

PLAYED = """
import torch

stopped = False

def synchronize(device=None):
    if stopped:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

torch.accelerator.synchronize = synchronize

def late(gm, inputs):
    bad = any(node.target is torch.relu for node in gm.graph.nodes)
    def run(*args):
        global stopped
        stopped = stopped or (bad and bool(args[0].sum() > 3))
        return gm(*args)
    return run

f = torch.compile(lambda x: torch.relu(x) + 1, backend=late)
g = torch.compile(lambda x: torch.sin(x), backend=late)
x = torch.ones(4)
"""


@pytest.mark.parametrize(
    ("exception", "message", "expected"),
    [
        ("torch.AcceleratorError", "anything", True),
        ("RuntimeError", "CUDA error: an illegal memory access was encountered", True),
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", False),
        ("RuntimeError", "no CUDA error handler", False),
    ],
)
def test_which_errors_stop_a_device(exception, message, expected):
    assert is_of_device(exception, message) is expected


def test_an_error_that_shows_late_is_caught_where_it_arose(scripts):
    text = PLAYED + "g(x); f(x); g(x); torch.accelerator.synchronize()\n"
    path = scripts.write("script.py", text)
    first = run_script(str(path), (), folder=scripts.folder / "first", quiet_output=True)
    assert first.ending is Ending.OTHER_ERROR

    caught = run_script(
        str(path), (), folder=scripts.folder / "second", quiet_output=True, check="device"
    )
    assert caught.ending is Ending.CAUGHT
    failure = caught.case.failure
    assert (failure.kind, failure.stage) == (Kind.RUNTIME_ERROR, Stage.RUN)
    assert (failure.exception, failure.stops_device) == ("AcceleratorError", True)
    assert caught.case.program.calls[0].target == "torch.relu"
    assert caught.case.context.synchronized
    assert caught.case.stored == {"l_x_"}


def test_inputs_that_are_out_of_reach_are_kept_by_another_run(scripts):
    text = PLAYED.replace("f = ", "hook.out_of_reach = bool\n\nf = ").replace(
        "import torch\n", "import torch\nfrom torchcrux.capturing import hook\n"
    )
    text += "f(x / 8); f(x)\n"
    path = scripts.write("script.py", text)
    caught = run_script(
        str(path), (), folder=scripts.folder / "1", quiet_output=True, check="device"
    )
    assert caught.case.failure.stops_device
    assert not caught.case.stored
    assert caught.keep == standby.Keep(1, 2)

    again = run_script(
        str(path),
        (),
        folder=scripts.folder / "2",
        quiet_output=True,
        check="device",
        keep=caught.keep,
    )
    assert again.case.tensors()["l_x_"].tolist() == [1.0] * 4
    assert again.keep is None


def test_an_accelerator_that_the_script_itself_has_stopped_is_no_failure_of_a_graph(scripts):
    caught = scripts.run(
        PLAYED + "stopped = True\ng(x); torch.accelerator.synchronize()\n", check="device"
    )
    assert caught.ending is Ending.OTHER_ERROR
    assert caught.case is None


def test_a_backward_that_shows_late(scripts):
    text = PLAYED + (
        "h = torch.compile(lambda x: torch.relu(x).sum(), backend='aot_eager')\n"
        "out = h(torch.ones(4, requires_grad=True))\n"
        "stopped = True\n"  # as if a kernel of the backward had done it
        "out.backward()\n"
    )
    caught = scripts.run(text, check="device")
    failure = caught.case.failure
    assert (failure.kind, failure.stage) == (Kind.RUNTIME_ERROR, Stage.BACKWARD)
    assert caught.case.context.backward
    assert caught.case.context.synchronized
