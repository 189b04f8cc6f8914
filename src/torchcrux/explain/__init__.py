"""What a person wants to know of a failure: its layer, what makes it pass, a way around it."""
