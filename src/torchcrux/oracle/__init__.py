"""From the text of a script to a verdict."""
