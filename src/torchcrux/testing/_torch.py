"""The private PyTorch names that only the test kit uses, each with the versions it holds for."""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


def configuration() -> str:
    """Statements that give a fresh process this process's compiler configuration.

    `codegen_config` of torch._dynamo.config and torch._inductor.config, 2.0 and newer.
    """
    import torch._dynamo.config
    import torch._inductor.config

    return "\n".join(
        [
            "import torch._dynamo",
            "import torch._inductor.config",
            torch._dynamo.config.codegen_config(),
            torch._inductor.config.codegen_config(),
        ]
    )


@contextmanager
def restored_configuration() -> Iterator[None]:
    """Whatever runs inside leaves the compiler's configuration and state as they were.

    `get_config_copy` and `load_config` of the config modules, 2.0 and newer.
    """
    import torch._dynamo
    import torch._inductor.config

    modules = (torch._dynamo.config, torch._inductor.config)
    saved = [module.get_config_copy() for module in modules]
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # settings that no longer do anything
            for module, values in zip(modules, saved, strict=True):
                module.load_config(values)
        torch._dynamo.reset()


def quick_compiles() -> AbstractContextManager[None]:
    """Inductor settings under which a fresh process starts to compile soonest, for tests."""
    import torch._inductor.config

    patch: AbstractContextManager[None] = torch._inductor.config.patch(
        {"pattern_matcher": False, "compile_threads": 1}
    )
    return patch


def base_test_case() -> type[unittest.TestCase]:
    """PyTorch's own TestCase, which resets Dynamo around each test and knows expected texts.

    `torch._dynamo.test_case.TestCase`, 2.0 and newer; it needs the package expecttest. Without it
    a plain TestCase does.
    """
    try:
        from torch._dynamo.test_case import TestCase
    except ImportError:
        return unittest.TestCase
    base: type[unittest.TestCase] = TestCase
    return base
