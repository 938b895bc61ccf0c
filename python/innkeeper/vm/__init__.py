"""One running guest in this process: machine, terminal, signals, and how it ended."""
