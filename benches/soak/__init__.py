"""`make soak`: a guest whose memory and files are checked by a program in it, while it is saved,
gone back to, forked, backed up and paused at random.
"""
