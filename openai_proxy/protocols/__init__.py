"""Wire formats, both directions in one file each, no I/O."""
