import pytest
from run_kit import HERE

from torchcrux.run import Pool


@pytest.fixture
def make_pool(tmp_path):
    """Pools that import this folder's tasks; each must leave nothing behind."""
    pools = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def make(**options):
        env = {"PYTHONPATH": HERE, "KEPT": "yes", **options.pop("env", {})}
        options = {"jobs": 2, "scratch": scratch, **options}
        pools.append(Pool(env=env, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
    assert list(scratch.iterdir()) == []


@pytest.fixture
def pool(make_pool):
    return make_pool()
