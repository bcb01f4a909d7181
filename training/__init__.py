"""Draw the pictures of the demonstration network `tiny` and train it."""
