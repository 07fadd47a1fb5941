"""Journal and stores: what is written to disk, each by one thread of its own."""
