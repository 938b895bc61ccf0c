"""What one can do, one noun a file, whoever asks."""
