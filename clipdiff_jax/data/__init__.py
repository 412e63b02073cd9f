"""Images with captions: where they come from, how they are shaped, and how batches are made."""
