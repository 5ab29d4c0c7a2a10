"""The folder that a model is stored in: what it holds, and every check before it becomes a model."""
