"""Every message of the system, frozen and versioned: the shared vocabulary of all floors."""
