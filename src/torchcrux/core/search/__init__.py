"""The searches: merge, progression, integers."""
