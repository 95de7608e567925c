"""The web app: a page around anything that generates images."""
