"""What to do with a request: `decide` determines it without side effects, `begin` acts on it once limits allow."""
