"""``python -m charlm``."""

from charlm.cli import main

if __name__ == "__main__":
    main()
