"""Signs HTTP requests as docs/wire-format.md says. An ambiguous request is a ValueError, never repaired."""
import hashlib, hmac, http.client, json, re, secrets, time, urllib.parse

ALGORITHM, TERMINATOR = "COUNTERSIGN1-HMAC-SHA256", "countersign1_request"
MUST_SIGN = "host|x-countersign-.*|content-type|content-encoding|x-http-method-override"
CREDENTIAL = r"(?a)[\w.-]{1,128}/\d{8}/[\w.:-]{1,128}/\w+"
HEADER = r"(?a)host:([\w-]([\w.-]*[\w-])?|\[[0-9A-Fa-f:.]+\])(:[1-9]\d{0,4})?|(?!host:)[!#-'*+.0-9^-z|~-]+:[\t -~]*"
TARGET = r'(?ai)(?!//)(?![^?]*/(\.|%2e){1,2}([/?]|\Z))(?!.*%(00|(?![0-9a-f]{2})))/[!"$-\[\]-~]{0,16383}'

def check(text, pattern, what):
    if not re.fullmatch(pattern, text):
        raise ValueError(f"cannot sign: the {what} is not as the wire format asks for")
    return text

def split(url):
    """Splits a URL into (scheme, host, target). The host has no default port, as HTTP clients send it."""
    scheme, host, target = re.match("(?s)(https?)://([^/?#]*)(.*)", check(url, "(?s)https?://.*", "URL")).groups()
    host = re.sub(":80$" if scheme == "http" else ":443$", "", host.lower())
    return scheme, check(host, r"\S+", "host"), target if target.startswith("/") else "/" + target

def canonical_request(method, target, headers, also=()):
    """Builds the canonical request. Signs the (name, value) headers that must be signed, and those in `also`."""
    urllib.parse.unquote_to_bytes(check(target, TARGET, "target")).decode()  # UnicodeDecodeError is a ValueError
    path, _, query = target.partition("?")
    given = sorted((name.lower(), value.strip(" \t")) for name, value in headers)
    names = sorted({"host", *also, *(name for name, _ in given if re.fullmatch(MUST_SIGN, name))})
    signed = {name: value for name, value in given if name in names}
    if [name for name, _ in given if name in names] != names[:64]:
        raise ValueError("cannot sign: a header to sign is missing or there twice, or there are more than 64")
    lines = [check(method, r"[!#-'*+.0-9A-Z^-z|~-]{1,32}", "method"), path if query else target, query]
    lines += [*(check(f"{name}:{signed[name]}", HEADER, f"{name} header") for name in names), "", ";".join(names)]
    return "\n".join([*lines, signed.get("x-countersign-content-sha256", hashlib.sha256().hexdigest())])

def string_to_sign(date, credential, canonical, algorithm=ALGORITHM):
    """Builds the bytes that are signed."""
    return "\n".join([algorithm, date, credential, hashlib.sha256(canonical.encode()).hexdigest()]).encode()

def signing_key(secret, date, audience):
    key = b"COUNTERSIGN1" + check(secret.encode(), b"(?s).{16,}", "secret")
    for part in (date[:8], audience, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key

def sign(method, url, *, access_key_id, audience, secret="", body=b"", headers=None, epoch=None,
         now=None, nonce=None, also=(), algorithm=ALGORITHM, sign_bytes=None):
    """Returns the given headers, Host and the signature. `also`: lower-case names of more headers to sign."""
    _, host, target = split(url)
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    credential = check(f"{access_key_id}/{date[:8]}/{audience}/{TERMINATOR}", CREDENTIAL, "access key id or audience")
    sent = {"Host": host, "X-Countersign-Content-Sha256": hashlib.sha256(body).hexdigest(), **(headers or {}),
            "X-Countersign-Date": date, "X-Countersign-Nonce": nonce or secrets.token_urlsafe(16)}
    sent |= {"X-Countersign-Epoch": epoch} if epoch else {}
    text = string_to_sign(date, credential, canonical := canonical_request(method, target, sent.items(), also), algorithm)
    signature = sign_bytes(text) if sign_bytes else hmac.digest(signing_key(secret, date, audience), text, "sha256")
    return {**sent, "Authorization": f"{algorithm} Credential={credential}, "
            f"SignedHeaders={canonical.splitlines()[-2]}, Signature={signature.hex()}"}

class Client:
    """Calls one API. It echoes the epoch of the server, and signs again, once, if the epoch was missing."""
    def __init__(self, base_url, **keys):
        self.base_url, self.keys, self.epochs = base_url.rstrip("/"), keys, {}
    def call(self, method, path_or_url, body=b"", headers=None, again=True):
        """Sends a signed request. Returns (status, headers, body) of the answer."""
        url = self.base_url + path_or_url if path_or_url.startswith("/") else path_or_url
        origin = split(url)[:2]
        signed = sign(method, url, body=body, headers=headers, epoch=self.epochs.get(origin), **self.keys)
        status, told, answer = self.send(method, url, body, signed)
        self.epochs[origin] = told["Countersign-Epoch"] or self.epochs.get(origin)
        problem = json.loads(answer) if told.get_content_subtype() == "problem+json" else {}
        if again and status == 401 and problem.get("reason") == "replay-unknown":
            return self.call(method, url, body, headers, again=False)
        return status, told, answer
    def send(self, method, url, body, headers):
        """Sends exactly these bytes. Follows no redirect, because a signature is for one URL only."""
        scheme, host, target = split(url)
        connection = getattr(http.client, f"{scheme.upper()}Connection")(host, timeout=30)
        connection.request(method, target, body or None, {**headers, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
