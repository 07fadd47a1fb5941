"""Three drivers call `step`: live, virtual and replay; the system under them is the same."""
