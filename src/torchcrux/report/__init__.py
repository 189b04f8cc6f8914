"""What a person or a machine reads at the end."""
