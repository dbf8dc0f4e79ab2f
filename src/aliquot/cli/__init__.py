"""The command line: one module per command, reading of input, forms of output."""
