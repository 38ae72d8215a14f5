"""What is to be done with a request: `decide` says it and books nothing, `begin` acts on it once the limits allow."""
