"""The front door, tested over real sockets through the contract alone."""
