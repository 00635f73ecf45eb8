"""The composition root, and the service built on it: the loop, its triggers and its state."""
