"""What the model reads before the conversation: templates, skills, assembly."""
