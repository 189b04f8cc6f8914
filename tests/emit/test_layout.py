"""Long lines are broken as ruff breaks them."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchcrux.emit.imports import ordered
from torchcrux.emit.layout import folded

RUFF = shutil.which("ruff", path=Path(sys.executable).parent)
NAMES = ", ".join(f"weight_{i}" for i in range(12))
LINES = [
    f"def f({NAMES}):",
    f"def f({NAMES}, {NAMES[:-1].replace('weight', 'bias')}):",
    f"    return {NAMES}",
    f"    return torch.cat([{NAMES}], dim=1)",
    "    return torch.nn.functional.conv2d(weight_1, weight_2, weight_3, (1, 1), (1, 1), (1, 1), 1)",
    "x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]])",
    f"x = torch.tensor([{', '.join(['1.0'] * 30)}], dtype=torch.float64)",
    f"x[{NAMES}] = torch.relu(x)",
    f"out = x + torch.addmm({NAMES})",
    'y = torch.compile(f, backend=backend, options={"max_autotune": True, "x": 1})(weight, bias, mask)',
    'torch.compile(f, backend=backend, options={"max_autotune": True, "epilogue_fusion": 1}, dynamic=True)(x)',
    'weight = torch.randn(11111, 22222, 33333, 44444, dtype=torch.float64, device="cuda").transpose(1, 2)',
    "torch.testing.assert_close(actual, expected, equal_nan=True, rtol=1.0000000000001, atol=1.111)",
    '    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False), torch.no_grad(): #',
    f"out = torch.cond(gt, true_fn, false_fn, ({NAMES}))",
    'x = torch.full((1,), "' + "a, (b] " * 14 + '", dtype=torch.float64)',
]


def formatted(text: str) -> str:
    command = [str(RUFF), "format", "--isolated", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(RUFF is None, reason="needs ruff")
@pytest.mark.parametrize("line", LINES)
def test_a_line_is_broken_as_ruff_breaks_it(line):
    head = "if x:\n" if line.startswith(" ") else ""
    head = "def f():\n" if line.strip().startswith("return") else head
    line = line.removesuffix(" #")
    tail = "\n" + " " * (len(line) - len(line.lstrip()) + 4) + "pass" if line.endswith(":") else ""
    ours = head + "\n".join(folded([line])) + tail + "\n"
    assert ours == formatted(head + line + tail + "\n")


def test_what_fits_is_left_alone():
    lines = ["x = torch.relu(y)", "    return x", "", "# " + "a" * 100]
    assert folded(lines) == lines


def test_imports_are_in_order():
    lines = [
        "from torch.utils.checkpoint import checkpoint",
        "import torch.nn.functional as F",
        "import torch",
        "import math",
        "from safetensors.torch import load_file",
        "import torch",
    ]
    assert ordered(lines) == [
        "import math",
        "",
        "import torch",
        "import torch.nn.functional as F",
        "from safetensors.torch import load_file",
        "from torch.utils.checkpoint import checkpoint",
    ]


def test_a_comprehension_is_one_item():
    keys = ", ".join(f'"a_rather_long_key_{i}"' for i in range(5))
    line = f"table = make(rest={{key: one for key, one in everything().items() if key not in [{keys}]}})"
    text = "\n".join(folded([line]))
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(line))
    assert "key: one for key, one in everything().items() if key not in [" in text
