"""The edge to Charge: `http` moves bytes, `wire` gives them meaning, `client` is the port that the engine uses."""
