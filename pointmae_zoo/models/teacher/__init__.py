"""The frozen image network that teaches, and its weights."""
