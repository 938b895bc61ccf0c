"""qemu-guest-agent, for guests that have it rather than ours."""
