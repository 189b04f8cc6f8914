"""From something that fails to a program."""
