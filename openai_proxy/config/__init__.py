"""Reads conf/: from files and environment to one checked, frozen snapshot, with the place of every problem."""
