"""Guests that move to another host while they run.

    identity.py   who this host is, and which others it trusts
    line.py       bytes to and from another host: by TLS, or by ssh
    offer.py      what the source tells the target before anything moves
    sending.py    the source: asks, sends, and says in the end where the guest is
    receiving.py  the target: makes the guest, whose process receives it
    serving.py    the target's door for sources that come by TLS
    fence.py      why a guest that may be elsewhere is not started here

Processes of the guest send and receive it (innkeeper.guest.departure and arrival); what is here
joins them, and can see none of it: it hands bytes on. docs/reference/migration.md has the protocol.
"""
