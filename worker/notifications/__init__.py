"""Tells others when the state of the service changes."""
