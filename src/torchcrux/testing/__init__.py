"""For authors of backends: faulty backends and `MinifierTestBase`.

The faulty backends are found by name wherever torchcrux is installed; they live in the module
`torchcrux_faulty_backends`, which stands alone so that a repro that names one runs without the
package.
"""

from torchcrux.testing.minifier import MinifierTestBase, MinifierTestResult

__all__ = ["MinifierTestBase", "MinifierTestResult"]
