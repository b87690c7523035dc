"""The same call with the `requests` package: an authenticator that signs each request of a session.

COUNTERSIGN_ACCESS_KEY_ID=… COUNTERSIGN_SECRET_ACCESS_KEY=… python3 with_requests.py http://127.0.0.1:3000 VIDEO_URL
"""
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from command import credentials, run
from countersign import sign

class Countersign(AuthBase):
    """Signs each request as it will be sent. Takes the keys of sign(), and keeps the epoch of each server."""

    def __init__(self, **keys):
        self.keys, self.epochs = keys, {}

    def __call__(self, request):
        unsigned = request.copy()
        request.register_hook("response", lambda answer, **how: self.answered(answer, unsigned, **how))
        return self.signed(request)

    def signed(self, request):
        """Adds the headers that sign the exact target and body to `request`, which requests has prepared."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(request.url))
        request.body = request.body.encode() if isinstance(request.body, str) else request.body
        headers = sign(
            request.method,
            origin + request.path_url,
            body=request.body or b"",
            headers=request.headers,
            epoch=self.epochs.get(origin),
            **self.keys,
        )
        request.headers.update(headers)
        return request

    def answered(self, answer, unsigned, **how):
        """Keeps the epoch of the server. If the server asks for it, signs the request again and sends it."""
        if "Countersign-Epoch" in answer.headers:
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(unsigned.url))
            self.epochs[origin] = answer.headers["Countersign-Epoch"]
        if answer.status_code != 401 or "problem+json" not in answer.headers.get("Content-Type", ""):
            return answer
        if answer.json().get("reason") != "replay-unknown":
            return answer
        again = answer.connection.send(self.signed(unsigned.copy()), **how)  # runs no hook: once is enough
        again.history.append(answer)
        return again

def main(api, video_url):
    session = requests.Session()
    session.auth = Countersign(**credentials())
    # A signature is for one URL, so a redirect cannot be followed with it.
    answer = session.post(f"{api}/VideoParser/", json={"videoUrl": video_url}, allow_redirects=False, timeout=30)
    print(answer.status_code, answer.text)
    return 0 if answer.ok else 1

if __name__ == "__main__":
    run(main, __doc__, 2)
