"""Sends notifications when the state of the service changes."""
