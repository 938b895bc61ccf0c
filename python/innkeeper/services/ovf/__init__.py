"""Machines of others as guests, and guests as machines for others: OVF and OVA.

A package is a descriptor, which says what the machine is, its disks and a manifest with their
digests; an OVA is all of it in one tar archive. `markup` reads XML that may be anybody's,
`descriptor` understands it and `writing` writes one; `package` finds the files and checks them.
`importing` and `exporting` join that to guests.
Spec: DMTF DSP0243, "Open Virtualization Format Specification" 1.1.
"""
