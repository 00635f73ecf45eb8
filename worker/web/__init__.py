"""The service's HTTP side: the status page, metrics, probes, and the two things that can be asked of it."""
