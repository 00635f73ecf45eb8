"""Turns the state of the service into what people are shown and told. Pure."""
