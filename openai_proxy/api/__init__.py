"""The doors: routes, what stands around every door, chat, models, pass-through, admin."""
