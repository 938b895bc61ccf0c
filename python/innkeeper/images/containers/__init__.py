"""Containers' images: an OCI image layout or what `docker save` wrote, as an image of ours.

    reference -> source -> blobs -> layers -> tree -> root.tar -> root.img

`reference` says where it is and `source` what it is made of; `blobs` reads that with its digests
checked. `layer` lays one layer after the other over a `tree`, which is a file system that is only
ever thought of: what a layer says of paths, links and whiteouts happens there and nowhere on the
host. What comes out has one name for each thing, and directories that are directories, so that
writing it to a disk is safe. `building` puts our kernel and agent around it.
"""
