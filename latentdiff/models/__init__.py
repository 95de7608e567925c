"""Keras models and their layers and losses."""
