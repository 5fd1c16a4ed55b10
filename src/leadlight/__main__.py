"""`python -m leadlight`, and `torchrun -m leadlight`: the same as the command."""

from leadlight.cli.app import main

if __name__ == "__main__":
    main()
