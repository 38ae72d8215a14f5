"""Changes to requests: members, parameters, in-chat commands, redaction."""
