"""Records a request from its first byte on: begun on the event loop, finished in a separate thread."""
