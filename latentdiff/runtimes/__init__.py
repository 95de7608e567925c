"""Programs that run what was exported; they need no Keras."""
