"""The list of models in the formats of the clients' APIs, each written from the same cards."""
