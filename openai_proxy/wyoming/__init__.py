"""Wyoming, the protocol of Home Assistant's voice satellites: transcription and speech by models of the house.

Nothing but `listener` is imported before the setting `wyoming` opens a port.
"""
