"""fleet-sync keeps driver-fleet memberships in Charge in sync with lists. Start reading at `worker.service`."""

__version__ = "0.1.0"
