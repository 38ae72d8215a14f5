"""Built-in, custom and MCP tools behind one interface."""
