"""From arrays to what is printed: text, tsv, JSON and npy."""
