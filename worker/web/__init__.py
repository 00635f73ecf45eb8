"""The service's HTTP side: status page, live updates, metrics, probes, and the requests that change something."""
