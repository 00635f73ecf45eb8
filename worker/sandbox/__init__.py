"""Imitates the Charge API and imports nothing else of `worker`. Start reading at `app`."""
