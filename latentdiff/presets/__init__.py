"""A trained model in a folder."""
