"""Configuration: what may be said (schema), how it is read, checked, compared and shown."""
