"""Wyoming, the protocol of Home Assistant's voice satellites: speech to text and text to speech by our models.

Only `listener` is imported before the setting `wyoming` opens a port.
"""
