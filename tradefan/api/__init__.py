"""The HTTP face: health, metrics and status for everybody, control for who has the token."""
