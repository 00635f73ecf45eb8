"""The values that every part of fleet-sync shares. Immutable, and without a dependency outside this package."""
