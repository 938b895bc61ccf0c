"""What a guest shows and what is typed to it: keys, pictures, RFB clients."""
