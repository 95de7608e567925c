"""A pipeline as LiteRT files."""
