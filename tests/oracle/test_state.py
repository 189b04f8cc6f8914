"""What a script leaves behind in a process that judges another one after it."""

import random
import warnings

import torch
import torch._inductor.config

from torchcrux import global_flags
from torchcrux._torch import settable_flags
from torchcrux.oracle._torch import keep_state


def state():
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "flags": global_flags.statements(),
        "threads": torch.get_num_threads(),
        "dynamic": torch._dynamo.config.assume_static_by_default,
        "fusion": torch._inductor.config.pattern_matcher,
        "nested": torch._inductor.config.cpp.threads,
        "filters": list(warnings.filters),
        "drawn": (torch.rand(1).item(), random.random()),
    }


def test_all_that_a_script_changes_is_put_back():
    put_back = keep_state()
    before = state()
    put_back()
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    with settable_flags():
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        torch.backends.mkldnn.enabled = False
        torch.backends.cuda.enable_math_sdp(False)
    torch.set_num_threads(3)
    torch._dynamo.config.assume_static_by_default = False
    torch._inductor.config.pattern_matcher = False
    torch._inductor.config.cpp.threads = 7
    warnings.simplefilter("ignore")
    torch.manual_seed(5)
    random.seed(5)
    assert put_back()
    assert state() == before


def test_precisions_of_the_newer_kind_are_put_back():
    put_back = keep_state()
    before = state()
    put_back()
    with settable_flags():
        torch.backends.fp32_precision = "tf32"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    assert put_back()
    assert state() == before


def test_a_process_stuck_in_inference_mode_is_not_fit():
    put_back = keep_state()
    mode = torch.inference_mode()
    mode.__enter__()
    try:
        assert not put_back()
    finally:
        mode.__exit__(None, None, None)
    assert put_back()
