"""The common part of the commands in this folder: help, credentials, and errors in one line."""
import http.client, os, sys

def credentials(audience="video-api"):
    """Reads the keywords of sign(), presign() and Client() from the environment. All users of a machine can
    see a command line with ps."""
    names = {"access_key_id": "COUNTERSIGN_ACCESS_KEY_ID", "secret": "COUNTERSIGN_SECRET_ACCESS_KEY"}
    missing = [name for name in names.values() if not os.environ.get(name)]
    if missing:
        sys.exit(f"Cannot sign without credentials: set {' and '.join(missing)}")
    return {**{key: os.environ[name] for key, name in names.items()}, "audience": audience}

def run(main, usage, count):
    """Runs a command with `count` arguments, and exits with its exit code."""
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
