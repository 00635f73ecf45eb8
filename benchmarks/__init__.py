"""What fleet-sync costs, as ratios: each against a peer in the same run, since seconds say little across machines."""
