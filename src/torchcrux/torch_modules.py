"""Names of private modules of PyTorch, for code that must not import torch to know them.

They are the same in 2.9 to 2.13. What is used of these modules stands in `_torch.py`.
"""

from __future__ import annotations

OUTPUT_GRAPH = "torch._dynamo.output_graph"
CONVERT_FRAME = "torch._dynamo.convert_frame"
EVAL_FRAME = "torch._dynamo.eval_frame"
DYNAMO_CONFIG = "torch._dynamo.config"
INDUCTOR_CONFIG = "torch._inductor.config"
FUNCTORCH_CONFIG = "torch._functorch.config"
COMPILED_IN_EAGER = ("torch._higher_order_ops.", "torch.nn.attention.")
"""Beginnings of the names of modules whose operators call `torch.compile` in eager."""
EVERY_SCRIPT = ("torch", "torch._dynamo")
"""What every script imports before it changes a setting, or would import in the same way after."""
WITH_INDUCTOR = ("torch._inductor.compile_fx", "torch._inductor.cpu_vec_isa:valid_vec_isa_list")
"""What a script with Inductor imports, and finds out about the machine, when it first compiles."""
