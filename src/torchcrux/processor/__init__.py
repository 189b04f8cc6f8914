"""What the processor can do, as Inductor finds it out: once, for all processes of a run."""
