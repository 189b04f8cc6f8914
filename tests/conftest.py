"""Several processes of torch share a few cores here: threads that wait for work give theirs away."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
