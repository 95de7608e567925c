"""Weights of other libraries: their names, and folders and files that hold them."""
