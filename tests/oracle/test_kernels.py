"""Kernels that a further compiler refused, by frames as Inductor's generated modules leave them."""

import sys

import pytest

from torchcrux.oracle.failure import Failure, from_exception
from torchcrux.oracle.kernels import is_in_kernel

MODULE = """
cpp_fused_sin_0 = async_compile.cpp_pybinding('''
''')
cpp_fused_pow_relu_1 = async_compile.cpp_pybinding('''
error
''')
async_compile.wait(globals())
"""


class Compiles:
    def __init__(self, at_once):
        self.at_once = at_once

    def cpp_pybinding(self, text):
        if self.at_once and "error" in text:
            raise RuntimeError(text)
        return text

    def wait(self, scope):
        _wait_futures({key: value for key, value in scope.items() if "fused" in key})


def _wait_futures(kernels):
    for key, text in kernels.items():
        if "error" in text:
            raise RuntimeError(key)


@pytest.mark.parametrize("at_once", [True, False])
def test_the_kernel_is_known_however_it_was_compiled(tmp_path, at_once):
    file = tmp_path / "generated.py"
    file.write_text(MODULE)
    with pytest.raises(RuntimeError) as raised:
        exec(compile(MODULE, str(file), "exec"), {"async_compile": Compiles(at_once)})
    failure = from_exception(raised.value, compiling=True)
    assert failure.kernel == "cpp_fused_pow_relu_1"
    assert Failure.from_json(failure.to_json()).kernel == failure.kernel


def test_other_failures_name_none():
    with pytest.raises(ZeroDivisionError) as raised:
        sys.maxsize / 0
    assert from_exception(raised.value, compiling=True).kernel == ""


def test_operations_are_found_whole():
    kernel = "cpp_fused__softmax_native_layer_norm_relu_12"
    assert all(is_in_kernel(name, kernel) for name in ("relu", "softmax", "_softmax", "layer_norm"))
    assert not any(is_in_kernel(name, kernel) for name in ("norm_re", "sin", "elu", "fused"))
    assert not is_in_kernel("relu", "")
