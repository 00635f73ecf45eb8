"""The pure centre: values and decisions. No clock, no randomness, no I/O, no logging, no await."""
