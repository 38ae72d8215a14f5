"""What is kept of conversations between requests: bounded by count, bytes and age, bound to the caller."""
