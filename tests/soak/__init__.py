"""Runs the service for a long time while everything around it changes: `make soak`."""
