"""Working with what runs inside a guest: the agent's protocol, and the SDK's `Guest`."""

from innkeeper.guest.sdk import CommandResult, Guest

__all__ = ["CommandResult", "Guest"]
