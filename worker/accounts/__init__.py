"""The accounts of a cluster."""
