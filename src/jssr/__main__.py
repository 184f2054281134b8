"""`python -m jssr`, where the program is not on the PATH."""

from jssr.cli.program import run

if __name__ == "__main__":
    run()
