"""Signs with a private key instead of a secret, so that the server has only a public key.

    from countersign import Client
    from public_keys import private_key

    with open("alice.pem", "rb") as file:
        client = Client("https://api.example.com", access_key_id=..., audience="video-api", **private_key(file.read()))

Needs the package cryptography, which is not in Python's standard library.
"""
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key

CURVES = {"secp256r1": ("ECDSA-P256-SHA256", SHA256, 32), "secp384r1": ("ECDSA-P384-SHA384", SHA384, 48)}

def private_key(pem, algorithm=None):
    """Returns the keywords that sign(), presign() and Client() take instead of a secret. An RSA key signs
    with RSA-PSS if no algorithm is given."""
    key = load_pem_private_key(pem, password=None)
    name, sign_bytes = kind_of(key, algorithm)
    if algorithm not in (None, name.lower()):
        raise ValueError(f"cannot sign: this key is for {name.lower()}")
    return {"algorithm": f"COUNTERSIGN1-{name}", "sign_bytes": sign_bytes}

def kind_of(key, algorithm):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519", key.sign
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        name, digest, length = CURVES[key.curve.name]
        return name, lambda text: raw(key.sign(text, ec.ECDSA(digest())), length)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        if algorithm == "rsa-v1_5-sha256":
            return "RSA-V1_5-SHA256", lambda text: key.sign(text, padding.PKCS1v15(), SHA256())
        return "RSA-PSS-SHA512", lambda text: key.sign(text, padding.PSS(padding.MGF1(SHA512()), 64), SHA512())
    raise ValueError("cannot sign: expected a key of Ed25519, P-256, P-384, or RSA of at least 2,048 bits")

def raw(der, length):
    """Returns r followed by s, each as long as the order of the curve."""
    return b"".join(number.to_bytes(length, "big") for number in utils.decode_dss_signature(der))
