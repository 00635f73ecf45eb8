"""The settings of one account: read from a file and the environment, checked whole, from then on only values."""
