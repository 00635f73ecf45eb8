"""Decides which changes need an approval, and which must wait. Pure."""
