"""A pipeline as a SavedModel for TF Serving."""
