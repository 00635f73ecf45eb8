"""Decides how fast Charge is asked, and whether a request is retried. Pure."""
