"""Compares desired with actual state and plans changes. Pure."""
