"""Checks public_keys.py against the test vectors: python3 public_key_vectors.py ../../test/vectors/public-keys.json"""
import base64, json, re, sys

from command import run
from countersign import canonical_request, sign, split, string_to_sign
from presign import presign

try:
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from public_keys import CURVES, SHA256, SHA512, private_key
except ModuleNotFoundError as missing:
    sys.exit(f"Cannot check public keys: {missing}; install the package cryptography")


def verify(algorithm, pem, signature, text):
    """Verifies a signature. Raises InvalidSignature."""
    key = load_pem_public_key(pem)
    if algorithm == "ed25519":
        return key.verify(signature, text)
    if algorithm == "rsa-v1_5-sha256":
        return key.verify(signature, text, padding.PKCS1v15(), SHA256())
    if algorithm == "rsa-pss-sha512":
        return key.verify(signature, text, padding.PSS(padding.MGF1(SHA512()), 64), SHA512())
    _, digest, length = CURVES[key.curve.name]
    numbers = [int.from_bytes(part, "big") for part in (signature[:length], signature[length:])]
    return key.verify(utils.encode_dss_signature(*numbers), text, ec.ECDSA(digest()))


def check(vector, vectors):
    """Signs the request of a vector again. Returns the names of the parts that differ."""
    key = next(it for it in vectors["keys"] if it["accessKeyId"] == vector["accessKeyId"])
    request, algorithm, public = vector["request"], vector["algorithm"], key["publicKey"]["key"].encode()
    keys = {
        "access_key_id": key["accessKeyId"],
        "audience": vectors["verifier"]["audience"],
        "now": vectors["signedAt"],
        "nonce": vectors["nonce"],
        **private_key(key["privateKey"].encode(), algorithm),
    }
    url = "https://api.example.com" + request["target"]
    if vector["form"] == "header":
        given = {name: value for name, value in request["headers"] if name == "Content-Type"}
        sent = sign(request["method"], url, body=base64.b64decode(request["body"]), headers=given, **keys)
        target, actual, expected = request["target"], sent["Authorization"], dict(request["headers"])["Authorization"]
        credential = re.search("Credential=([^,]+)", actual)[1]
    else:
        actual = presign(request["method"], url.partition("&X-Countersign-")[0], expires_in=600, **keys)
        sent, expected, target = {"Host": "api.example.com"}, url, split(actual)[2].partition("&X-Countersign-Signature=")[0]
        credential = re.search("X-Countersign-Credential=([^&]+)", actual)[1].replace("%2F", "/")
    canonical = canonical_request(request["method"], target, sent.items())
    text = string_to_sign("20261121T222526Z", credential, canonical, keys["algorithm"])
    front, _, signature = actual.rpartition("Signature=")
    verify(algorithm, public, bytes.fromhex(signature), text)
    verify(algorithm, public, bytes.fromhex(vector["signature"]), text)
    results = {
        "canonicalRequest": canonical == vector["canonicalRequest"],
        "stringToSign": text.decode() == vector["stringToSign"],
        "signature": signature == vector["signature"] or not vector["isDeterministic"],
        "what is sent": front == expected.rpartition("Signature=")[0],
    }
    return [name for name, right in results.items() if not right]


def main(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    failed = 0
    for vector in vectors["positive"]:
        try:
            wrong = check(vector, vectors)
        except Exception as error:
            wrong = [repr(error)]
        if wrong:
            failed += 1
            print(f"{vector['name']}: {', '.join(wrong)}", file=sys.stderr)
    print(f"{len(vectors['positive']) - failed} passed, {failed} failed")
    return 1 if failed or not vectors["positive"] else 0


if __name__ == "__main__":
    run(main, __doc__, 1)
