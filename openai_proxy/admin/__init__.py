"""What the owner sees and does over HTTP: /admin/*, health, metrics, events and the page."""
