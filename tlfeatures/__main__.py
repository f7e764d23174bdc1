"""python -m tlfeatures: the command line."""

from tlfeatures.cli import main

if __name__ == "__main__":
    main()
