"""Turns a configuration into running objects, and replaces it by the next one."""
