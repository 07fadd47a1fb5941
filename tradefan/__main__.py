"""`python -m tradefan`."""

from tradefan.cli import main

if __name__ == "__main__":
    main()
