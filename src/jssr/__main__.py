"""`python -m jssr`, where the program is not on the PATH."""

from jssr.cli import main

if __name__ == "__main__":
    main()
