"""Parses document formats, one module each: text in, plain data with positions out."""
