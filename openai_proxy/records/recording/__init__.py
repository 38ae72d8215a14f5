"""The record of a request from its first byte on: opened on the loop, finished on a thread of its own."""
