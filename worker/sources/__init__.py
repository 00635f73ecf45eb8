"""Reads the desired memberships: whole documents of several formats, with the position of every row."""
