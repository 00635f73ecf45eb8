"""Compares desired with actual state and plans the changes. Pure."""
