"""Asks a video parser about one video, with a signed request.

COUNTERSIGN_ACCESS_KEY_ID=… COUNTERSIGN_SECRET_ACCESS_KEY=… python3 call.py http://127.0.0.1:3000 VIDEO_URL
"""
import json

from command import credentials, run
from countersign import Client

def main(api, video_url):
    client = Client(api, **credentials())
    body = json.dumps({"videoUrl": video_url}).encode()
    status, _, answer = client.call("POST", "/VideoParser/", body, {"Content-Type": "application/json"})
    print(status, answer.decode())
    return 0 if status < 400 else 1

if __name__ == "__main__":
    run(main, __doc__, 2)
