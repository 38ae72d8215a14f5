"""The language of conf/: files and environment in, one checked and frozen snapshot out, problems with places."""
