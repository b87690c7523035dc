"""What the commands of this folder have in common: help, credentials, and errors in one line."""
import http.client, os, sys

def credentials(audience="video-api"):
    """The keywords that sign(), presign() and Client() take, from the environment: ps shows a command line to everybody."""
    names = {"access_key_id": "COUNTERSIGN_ACCESS_KEY_ID", "secret": "COUNTERSIGN_SECRET_ACCESS_KEY"}
    missing = [name for name in names.values() if not os.environ.get(name)]
    if missing:
        sys.exit(f"Cannot sign without credentials: set {' and '.join(missing)}")
    return {**{key: os.environ[name] for key, name in names.items()}, "audience": audience}

def run(main, usage, count):
    """Runs a command with `count` arguments, and ends the program with its exit code."""
    arguments = sys.argv[1:]
    if set(arguments) & {"-h", "--help"}:
        print(usage.strip())
        sys.exit(0)
    if len(arguments) != count:
        print(usage.strip(), file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(*arguments))
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.exit(f"{type(error).__name__}: {error}")
