"""``python -m charlm``, and the ``charlm`` command."""

import signal


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C ends the process without a traceback while the modules are imported.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from charlm.cli import main as run

    run()


if __name__ == "__main__":
    main()
