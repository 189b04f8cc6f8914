"""The search, without torch: edits, rounds, journal."""
