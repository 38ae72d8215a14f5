"""The suite. One folder a room; `harness` is what the tests of the running daemon share."""
