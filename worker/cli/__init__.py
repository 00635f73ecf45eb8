"""The command line: `main` finds the command, one module each; what people read is made in `render`."""
