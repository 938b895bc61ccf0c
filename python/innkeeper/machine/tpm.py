"""A TPM 2.0: where measurements of a guest's start are, and keys that are bound to them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

# What the TPM keeps, in a guest's directory, where the guest's process does not reach; and the file
# in there, as swtpm calls it.
DIRECTORY: Final = "tpm"
PERMANENT: Final = "tpm2-00.permall"


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmSpec:
    """`state` is the directory with what it keeps without power. Without, that is in the directory
    of a guest that stays, and gone with any other.
    """

    state: Path | None = None
