"""``python -m diffmix``: the same as the command ``diffmix``."""

from diffmix.cli import main

if __name__ == "__main__":
    main()
