"""The API from the outside, tested over real sockets against the contract only."""
