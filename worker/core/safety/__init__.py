"""Decides what must not happen without a person's approval, or not yet. Pure."""
