"""What the model may do: built-in, custom and MCP tools behind one shape."""
