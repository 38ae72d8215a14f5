"""Wire formats, both directions of each in one file, without I/O."""
