"""How models are trained: callbacks and, above them, whole runs."""
