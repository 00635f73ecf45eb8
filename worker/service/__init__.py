"""The composition root, and the service that it makes: the loop, its reasons to run, what it knows of itself."""
