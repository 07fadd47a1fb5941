"""The simulated world: a venue with a personality, a disk that loses pages, faults, and their checkers."""
