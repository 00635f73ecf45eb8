"""The edge to Charge. `client` is the port that the engine uses."""
