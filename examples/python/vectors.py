"""Checks this implementation against the test vectors: python3 vectors.py ../../test/vectors/countersign.json"""
import base64, json, re, sys
from urllib.parse import unquote

from command import run
from countersign import canonical_request, sign, signing_key, split, string_to_sign
from presign import presign


def check_positive(vector):
    """Makes the signature of a vector again, in steps and as a whole. Returns the names of the parts that differ."""
    request, is_header_form = vector["request"], vector["form"] == "header"
    keys = {
        "access_key_id": vector["accessKeyId"],
        "secret": vector["secretAccessKey"],
        "audience": vector["audience"],
        "now": vector["signedAt"],
        "nonce": vector["nonce"],
        "also": [name.lower() for name in vector.get("signHeaders", [])],
    }
    headers = {"Host" if name.lower() == "host" else name: value for name, value in request["headers"]}
    if is_header_form:
        body = base64.b64decode(request["body"])
        written = sign(request["method"], request["url"], body=body, headers=headers, epoch=vector.get("epoch"), **keys)
        expected = {name.lower(): value for name, value in [*request["headers"], *vector["signedHeaders"]]}
        actual = {name.lower(): value for name, value in written.items()}
        actual = {name: value for name, value in actual.items() if name != "host" or name in expected}
        sent, target, signature = written, split(request["url"])[2], written["Authorization"][-64:]
        date = written["X-Countersign-Date"]
        credential = re.search("Credential=([^,]+)", written["Authorization"])[1]
    else:
        expected = vector["signedUrl"]
        actual = presign(request["method"], request["url"], headers=headers, expires_in=vector["expiresIn"], **keys)
        sent, signature = {"Host": split(actual)[1], **headers}, actual[-64:]
        target = split(actual)[2].partition("&X-Countersign-Signature=")[0]
        date = re.search("X-Countersign-Date=([^&]+)", target)[1]
        credential = unquote(re.search("X-Countersign-Credential=([^&]+)", target)[1])
    canonical = canonical_request(request["method"], target, sent.items(), keys["also"])
    results = {
        "canonicalRequest": canonical == vector["canonicalRequest"],
        "stringToSign": string_to_sign(date, credential, canonical).decode() == vector["stringToSign"],
        "signingKey": signing_key(keys["secret"], date, keys["audience"]).hex() == vector["signingKey"],
        "signature": signature == vector["signature"],
        "what is sent": actual == expected,
    }
    return [name for name, right in results.items() if not right]


def check_refused(vector):
    """Checks that a request which a signer must refuse raises ValueError."""
    request = vector["request"]
    covered = re.search("SignedHeaders=([^,]*)", dict(request["headers"]).get("Authorization", ""))
    try:
        canonical_request(request["method"], request["target"], request["headers"], covered[1].split(";") if covered else ())
    except ValueError:
        return []
    return ["refusal"]


def main(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    refused = [vector for vector in vectors["mustRefuse"] if vector.get("signer")]
    passed = failed = 0
    for check, vector in [(check_positive, it) for it in vectors["positive"]] + [(check_refused, it) for it in refused]:
        try:
            wrong = check(vector)
        except ValueError as error:
            wrong = [str(error)]
        passed, failed = passed + (not wrong), failed + bool(wrong)
        if wrong:
            print(f"{vector['name']}: {', '.join(wrong)}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    run(main, __doc__, 1)
