"""Working with what runs inside a guest: the agent's protocol, and the SDK's `Guest`."""
