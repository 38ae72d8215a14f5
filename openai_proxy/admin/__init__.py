"""The owner's side over HTTP: /admin/*, health, metrics, events and the page."""
