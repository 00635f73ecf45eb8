"""The command line: `main` maps each command to its module; `render` formats what people read."""
