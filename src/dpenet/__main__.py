"""``python -m dpenet`` is the same as ``dpenet``."""

from dpenet.cli.app import main

if __name__ == "__main__":
    main()
