"""Uses gui.py in a real window as a person would, and checks what it shows.

Run by scripts/test-gui.mjs, which starts the API and the display. The screenshots go to the folder argv[1].
"""
import os, subprocess, sys, time, tkinter as tk
from pathlib import Path

import gui

OUTPUT = Path(sys.argv[1])
DEADLINE = 20  # seconds, for what should take milliseconds

window = gui.Window()

def until(condition, what):
    """Runs the window until the condition holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not after {DEADLINE} s; the banner says: {window.banner['text']}"
        window.update()
        time.sleep(0.005)


def click(widget):
    """Moves the pointer to the widget's middle and presses its button."""
    at = {"x": widget.winfo_width() // 2, "y": widget.winfo_height() // 2}
    for event in ("<Enter>", "<Motion>", "<ButtonPress-1>", "<ButtonRelease-1>"):
        widget.event_generate(event, **at)


def retype(entry, text):
    """Selects all text in the entry, and types over it."""
    entry.focus_force()
    until(lambda: window.focus_get() is entry, "focus")
    entry.event_generate("<<SelectAll>>")
    names = {":": "colon", "/": "slash", ".": "period", "-": "minus", "?": "question", "=": "equal"}
    for character in text:
        entry.event_generate("<KeyPress>", keysym=names.get(character, character))
    assert entry.get() == text, f"typed {text}, but the entry has {entry.get()}"


def settled():
    return str(window.send_button["state"]) == "normal"


def shown(pane):
    return pane.get("1.0", "end-1c")


def picture(name):
    """Takes a picture of the display, and keeps it as a file."""
    window.update()
    file = OUTPUT / name
    subprocess.run(["import", "-window", "root", str(file)], check=True, timeout=DEADLINE)
    return tk.PhotoImage(file=str(file))


def colours(image, widget):
    """Returns the colours (red, green, blue) of the widget in the picture, at every fourth pixel."""
    left, top = widget.winfo_rootx(), widget.winfo_rooty()
    across, down = range(left, left + widget.winfo_width(), 4), range(top, top + widget.winfo_height(), 4)
    return [image.get(x, y) for y in down for x in across]


def share(image, widget, is_it):
    """Returns which part of the widget in the picture has a colour that `is_it`."""
    seen = colours(image, widget)
    return sum(is_it(*colour) for colour in seen) / len(seen)


def is_green(red, green, blue):
    return green > 1.4 * max(red, blue)


def is_red(red, green, blue):
    return red > 1.4 * max(green, blue)


def the_window_opens():
    until(lambda: window.winfo_viewable() and window.banner.winfo_width() > 100, "a window")
    assert (window.winfo_width(), window.winfo_height()) == (900, 620)
    assert window.api.get() == os.environ["COUNTERSIGN_API"]
    assert str(window.resend_button["state"]) == "disabled", "nothing was sent, and could be sent again"
    image = picture("gui-opened.png")
    assert len(set(colours(image, window))) > 20, "the picture is blank"
    assert share(image, window.banner, is_green) == share(image, window.banner, is_red) == 0


def the_secret_is_not_shown():
    assert window.secret.get() == os.environ["COUNTERSIGN_SECRET_ACCESS_KEY"]
    assert window.secret["show"] == "●"


def what_is_sent_is_accepted():
    retype(window.video, "https://videos.example.net/dogs.webm")
    click(window.send_button)
    assert not settled() and window.banner["text"] == "Waiting for the answer …", "the window waits for the network"
    until(settled, "an answer")
    assert window.banner["text"].startswith("200 · Accepted"), window.banner["text"]
    assert '"videoUrl": "https://videos.example.net/dogs.webm"' in shown(window.answer), shown(window.answer)
    assert '"parsedFor": "alice"' in shown(window.answer), shown(window.answer)


def the_signed_headers_are_shown():
    wire = shown(window.wire)
    assert wire.startswith("POST /VideoParser/ HTTP/1.1\n"), wire
    for header in ("Host", "X-Countersign-Date", "X-Countersign-Nonce", "X-Countersign-Content-Sha256", "Authorization"):
        assert f"\n{header}: " in wire, wire
    assert os.environ["COUNTERSIGN_SECRET_ACCESS_KEY"] not in wire


def accepted_is_green():
    image = picture("gui-accepted.png")
    assert share(image, window.banner, is_green) > 0.6
    assert share(image, window, is_red) == 0


def the_same_bytes_are_refused():
    wire = shown(window.wire)
    click(window.resend_button)
    until(settled, "an answer")
    assert window.banner["text"] == "401 · Refused: nonce-reused", window.banner["text"]
    assert '"reason": "nonce-reused"' in shown(window.answer), shown(window.answer)
    assert shown(window.wire) == wire, "other bytes were sent"


def refused_is_red():
    image = picture("gui.png")
    assert share(image, window.banner, is_red) > 0.6
    assert share(image, window, is_green) == 0
    for pane in (window.wire, window.answer):
        assert len(set(colours(image, pane))) > 5, "a pane is blank"


def signed_anew_it_is_accepted():
    wire = shown(window.wire)
    click(window.send_button)
    until(settled, "an answer")
    assert window.banner["text"].startswith("200 · Accepted"), window.banner["text"]
    assert shown(window.wire) != wire, "the same bytes were sent"


def a_wrong_secret_is_refused():
    retype(window.secret, "anotherSecretOfTheRightLength")
    click(window.send_button)
    until(settled, "an answer")
    assert window.banner["text"] == "401 · Refused: signature-invalid", window.banner["text"]


def an_address_where_nobody_listens_is_told_in_words():
    retype(window.api, "http://127.0.0.1:1")
    click(window.send_button)
    until(settled, "an answer")
    assert window.banner["text"] == "No answer: nothing listens at the API address", window.banner["text"]


def what_is_no_address_is_told_in_words():
    retype(window.api, "somewhere")
    click(window.send_button)
    assert window.banner["text"] == "The API address has to start with http:// or https://", window.banner["text"]


STEPS = [
    the_window_opens,
    the_secret_is_not_shown,
    what_is_sent_is_accepted,
    the_signed_headers_are_shown,
    accepted_is_green,
    the_same_bytes_are_refused,
    refused_is_red,
    signed_anew_it_is_accepted,
    a_wrong_secret_is_refused,
    an_address_where_nobody_listens_is_told_in_words,
    what_is_no_address_is_told_in_words,
]

failed = 0
for step in STEPS:
    name = step.__name__.replace("_", " ")
    try:
        step()
        print(f"ok      {name}")
    except Exception as error:
        failed += 1
        print(f"not ok  {name}: {type(error).__name__}: {error}")
window.destroy()
print(f"{len(STEPS) - failed} passed, {failed} failed, 0 skipped")
sys.exit(1 if failed else 0)
