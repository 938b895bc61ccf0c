"""QMP, the protocol of a guest's control socket.

Spec: QEMU documentation, "QEMU Machine Protocol Specification" and "QEMU QMP Reference Manual".
"""
