"""The sandbox: an imitation of the Charge API. Start reading at `app`; it imports nothing else of `worker`."""
