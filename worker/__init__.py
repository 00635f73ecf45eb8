"""fleet-sync: keeps the fleets of Charge drivers as the configured sources say. Start reading at `service`."""

__version__ = "0.1.0"
