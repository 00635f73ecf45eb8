"""The values in which every part of fleet-sync speaks. Immutable, and without a dependency on anything outside it."""
