"""Which weights are used where nobody names any."""

DEFAULT_MODEL = "i2p_mae_tiny.shapes"
"""The weights that `embed_files` and ``pointmae-zoo embed`` use unless told otherwise."""

DEFAULT_CLASSIFIER = "i2p_mae_tiny.shapes24"
"""The weights that `predict_files` and ``pointmae-zoo predict`` use unless told otherwise."""
