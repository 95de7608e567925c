"""The browser page of an exported folder."""
