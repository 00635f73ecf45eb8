"""Turns the state of the service into the text of alerts, summaries and notifications. Pure."""
