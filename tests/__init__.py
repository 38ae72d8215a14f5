"""The test suite: a folder per package; `harness` has the shared code of tests of the running daemon."""
