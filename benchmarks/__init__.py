"""Benchmarks as ratios: each measures a peer in the same run, because seconds mean little across machines."""
