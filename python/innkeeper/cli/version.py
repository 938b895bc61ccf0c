"""`inn version`."""

import innkeeper


def version() -> None:
    """Print the version."""
    print(f"innkeeper {innkeeper.__version__}")
