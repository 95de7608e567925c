"""What a request may say, on the standard library alone."""
