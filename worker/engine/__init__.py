"""Carries decisions out: reads Charge, limits the rate, sends requests and applies changes; `reconciler` is one run."""
