"""Processes: fork server, workers, limits, protocol."""

from torchcrux.run.pool import Pool
from torchcrux.run.server_process import PoolError
from torchcrux.run.task import Outcome, Status, Task

__all__ = ["Outcome", "Pool", "PoolError", "Status", "Task"]
