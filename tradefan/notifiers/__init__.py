"""Who is told when something is wrong: forms of the receivers, and the link that posts to them."""
