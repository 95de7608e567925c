"""A trained model in a folder, or on a hub."""
