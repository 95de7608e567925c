"""Captioned images: sources, decoding, captions, variations, batches."""
