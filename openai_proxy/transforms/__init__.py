"""Request in, request out: members, parameters, in-chat commands, redaction."""
