"""The settings of one account, read from a file and the environment and validated as a whole."""
