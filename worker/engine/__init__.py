"""Carries decisions out: reading, pacing, sending, applying, and the cycle that ties them together."""
