"""What is reduced: a program, its values and its context."""
