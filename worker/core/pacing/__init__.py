"""Decides how fast requests are sent, and whether a request is retried. Pure."""
