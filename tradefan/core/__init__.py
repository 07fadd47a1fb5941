"""Trading logic as pure functions of state and message: books, orders, matching, connections."""
