"""``python -m torchcrux``."""

from torchcrux.cli import main

main(prog_name="torchcrux")
