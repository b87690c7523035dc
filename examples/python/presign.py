"""Makes presigned URLs: any client that has the URL may send the request, until the URL expires.

COUNTERSIGN_ACCESS_KEY_ID=… COUNTERSIGN_SECRET_ACCESS_KEY=… python3 presign.py GET URL 300

The last argument is the life of the URL in seconds. The audience is that of the video parser.
"""
import hmac, secrets, time
from urllib.parse import quote

from command import credentials, run
from countersign import ALGORITHM, CREDENTIAL, TERMINATOR, canonical_request, check, signing_key, split, string_to_sign

def presign(method, url, *, access_key_id, audience, expires_in, secret="", headers=None, now=None, nonce=None, also=(),
            algorithm=ALGORITHM, sign_bytes=None):
    """Returns the URL with its signature. A request with the URL must have the given `headers`, too."""
    scheme, host, target = split(url)
    path, _, own = target.partition("?")
    if "&x-countersign-" in f"&{own}".lower():
        raise ValueError("cannot sign: the URL has X-Countersign- parameters of its own")
    if {name.lower() for name in headers or ()} & {"authorization", "x-countersign-date", "x-countersign-nonce"}:
        raise ValueError("cannot sign: the request is signed in its headers already")
    headers = {"Host": host, **(headers or {})}.items()
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    credential = check(f"{access_key_id}/{date[:8]}/{audience}/{TERMINATOR}", CREDENTIAL, "access key id or audience")
    parameters = {
        "Algorithm": algorithm,
        "Credential": credential,
        "Date": date,
        "Expires": check(str(expires_in), "[1-9][0-9]{0,8}", "expires_in"),
        "Nonce": nonce or secrets.token_urlsafe(16),
        "SignedHeaders": canonical_request(method, target, headers, also).splitlines()[-2],
    }
    written = [f"X-Countersign-{name}={quote(value, safe='')}" for name, value in parameters.items()]
    target = path + "?" + "&".join([own] * bool(own) + written)
    text = string_to_sign(date, credential, canonical_request(method, target, headers, also), algorithm)
    signature = sign_bytes(text) if sign_bytes else hmac.digest(signing_key(secret, date, audience), text, "sha256")
    return f"{scheme}://{host}{target}&X-Countersign-Signature={signature.hex()}"

def main(method, url, expires_in):
    print(presign(method, url, expires_in=expires_in, **credentials()))

if __name__ == "__main__":
    run(main, __doc__, 3)
