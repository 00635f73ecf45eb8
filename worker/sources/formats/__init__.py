"""One module for each document format: text in, plain data with positions out."""
