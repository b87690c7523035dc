"""A desktop program that asks the video parser about a video, and shows what it sent and received.

"Send the same bytes again" does what an attacker would do with a captured request. The API refuses it.
Start it with `python3 gui.py`; COUNTERSIGN_API, COUNTERSIGN_ACCESS_KEY_ID and COUNTERSIGN_SECRET_ACCESS_KEY
fill in the form.
"""
import http.client, json, os, queue, socket, ssl, sys, threading, tkinter as tk
from tkinter import font, ttk

from command import run
from countersign import Client, split

PAPER, INK, MUTED, LINE, BLUE = "#f5f6f8", "#1c2330", "#5d6878", "#d0d5dd", "#2457c5"
ACCEPTED, REFUSED, FAILED, WAITING = "#1a7f4b", "#c0362c", "#8a5a00", "#475467"


class Recorder(Client):
    """A client that keeps the last request that it sent, to show it and to send it again."""

    request = None

    def send(self, *request):
        self.request = request
        return super().send(*request)


class Window(tk.Tk):
    """The form and the outcome of a request. A thread sends requests, and puts each outcome in a queue."""

    def __init__(self):
        super().__init__()
        self.client, self.epochs, self.outcomes = None, {}, queue.SimpleQueue()
        self.title("Video parser")
        self.geometry("900x620")
        self.minsize(760, 540)
        self.style()
        self.form().pack(fill="x", padx=20, pady=(16, 0))
        self.actions().pack(fill="x", padx=20, pady=12)
        self.banner = tk.Label(self, anchor="w", padx=14, pady=9, foreground="white", font=self.bold)
        self.banner.pack(fill="x", padx=20)
        self.panes().pack(fill="both", expand=True, padx=20, pady=(10, 18))
        self.tell(WAITING, "Nothing sent yet")
        self.busy(False)
        self.collect()

    def send(self):
        """Signs the request that the form describes, and sends it."""
        api = self.api.get().strip()
        if not api.startswith(("http://", "https://")):
            return self.tell(FAILED, "The API address has to start with http:// or https://")
        keys = {"access_key_id": self.key_id.get().strip(), "secret": self.secret.get().strip()}
        self.client = Recorder(api, audience="video-api", **keys)
        self.client.epochs = self.epochs  # epochs of earlier answers hold for every client
        body = json.dumps({"videoUrl": self.video.get().strip()}, separators=(",", ":")).encode()
        self.work(self.client.call, "POST", "/VideoParser/", body, {"Content-Type": "application/json"})

    def resend(self):
        """Sends the last request once more, byte for byte, with the same signature."""
        self.work(self.client.send, *self.client.request)

    def work(self, function, *arguments):
        """Calls the function in a thread. The buttons are disabled until its outcome is shown."""

        def run():
            try:
                self.outcomes.put(function(*arguments))
            except Exception as error:  # the user must see every error
                self.outcomes.put(error)

        self.busy(True)
        self.tell(WAITING, "Waiting for the answer …")
        threading.Thread(target=run, daemon=True).start()

    def collect(self):
        """Polls the queue and shows an outcome, because only this thread may change the window."""
        if not self.outcomes.empty():
            self.show(self.outcomes.get())
            self.busy(False)
        self.after(20, self.collect)

    def show(self, outcome):
        self.write(self.wire, wire_text(*self.client.request) if self.client.request else "")
        if isinstance(outcome, Exception):
            self.write(self.answer, "")
            return self.tell(FAILED, in_words(outcome))
        status, headers, body = outcome
        answer = parsed(body)
        told = [f"{name}: {headers[name]}" for name in ("Content-Type", "WWW-Authenticate") if name in headers]
        self.write(self.answer, "\n".join([f"HTTP {status} {phrase(status)}", *told, "", pretty(answer)]))
        if status < 400:
            return self.tell(ACCEPTED, f"{status} · Accepted: the signature is right, and was not seen before")
        reason = answer.get("reason") if isinstance(answer, dict) else None
        self.tell(REFUSED, f"{status} · Refused: {reason or phrase(status)}")

    def tell(self, colour, text):
        self.banner.configure(background=colour, text=text)

    def busy(self, busy):
        sent = self.client is not None and self.client.request is not None
        self.send_button.configure(state="disabled" if busy else "normal")
        self.resend_button.configure(state="normal" if sent and not busy else "disabled")

    def write(self, pane, text):
        """Replaces the text of a pane. Header names are coloured."""
        pane.configure(state="normal")
        pane.delete("1.0", "end")
        for line in text.splitlines(keepends=True):
            name, colon, value = line.partition(": ")
            header = colon and name.replace("-", "").isalnum()
            pane.insert("end", name, ("line", "name") if header else "line", colon + value, "line")
        pane.configure(state="disabled")

    # Appearance

    def style(self):
        self.configure(background=PAPER)
        font.nametofont("TkDefaultFont").configure(size=10)
        self.mono = font.nametofont("TkFixedFont")
        self.mono.configure(size=9)
        self.bold = font.nametofont("TkDefaultFont").copy()
        self.bold.configure(weight="bold", size=11)
        style = ttk.Style(self)
        style.theme_use("clam")
        style.configure(".", background=PAPER, foreground=INK, bordercolor=LINE, lightcolor=PAPER, darkcolor=PAPER)
        style.configure("Muted.TLabel", foreground=MUTED)
        style.configure("TEntry", fieldbackground="white", padding=5)
        style.configure("TButton", background="white", padding=(14, 6))
        style.configure("Send.TButton", background=BLUE, foreground="white", bordercolor=BLUE)
        style.map("Send.TButton", background=[("disabled", "#a9b8dc"), ("active", "#1d479f")])
        style.map("Send.TButton", foreground=[("disabled", "white")])

    def form(self):
        form = ttk.Frame(self)
        form.columnconfigure((1, 3), weight=1, uniform="entries")
        self.api = self.entry(form, 0, 0, "API address", os.environ.get("COUNTERSIGN_API", ""))
        self.key_id = self.entry(form, 1, 0, "Access key id", os.environ.get("COUNTERSIGN_ACCESS_KEY_ID", ""))
        self.secret = self.entry(form, 1, 2, "Secret", os.environ.get("COUNTERSIGN_SECRET_ACCESS_KEY", ""))
        self.video = self.entry(form, 2, 0, "Video URL", "https://videos.example.net/cats.mp4")
        self.api.grid(columnspan=3)
        self.video.grid(columnspan=3)
        self.secret.configure(show="●")
        self.video.bind("<Return>", lambda _: self.send_button.invoke())
        return form

    def entry(self, form, row, column, label, value):
        ttk.Label(form, text=label).grid(row=row, column=column, sticky="w", padx=(column * 8, 10))
        entry = ttk.Entry(form, font=self.mono)
        entry.insert(0, value)
        entry.grid(row=row, column=column + 1, sticky="ew", pady=4)
        return entry

    def actions(self):
        actions = ttk.Frame(self)
        self.send_button = ttk.Button(actions, text="Send", style="Send.TButton", command=self.send)
        self.resend_button = ttk.Button(actions, text="Send the same bytes again", command=self.resend)
        self.send_button.pack(side="left")
        self.resend_button.pack(side="left", padx=10)
        hint = "A captured request works only once."
        ttk.Label(actions, text=hint, style="Muted.TLabel").pack(side="left")
        return actions

    def panes(self):
        panes = ttk.Frame(self)
        panes.rowconfigure(1, weight=1)
        panes.columnconfigure((0, 1), weight=1, uniform="panes")
        self.wire = self.pane(panes, 0, "What went over the wire")
        self.answer = self.pane(panes, 1, "What the API answered")
        return panes

    def pane(self, panes, column, title):
        left = column * 12
        ttk.Label(panes, text=title, style="Muted.TLabel").grid(row=0, column=column, sticky="w", padx=(left, 0), pady=4)
        pane = tk.Text(panes, font=self.mono, wrap="char", width=1, height=1, padx=10, pady=8, relief="flat")
        pane.configure(background="white", foreground=INK, highlightthickness=1, highlightbackground=LINE)
        pane.tag_configure("line", lmargin2=16)  # wrapped lines are indented
        pane.tag_configure("name", foreground=BLUE)
        pane.grid(row=1, column=column, sticky="nsew", padx=(left, 0))
        return pane


def wire_text(method, url, body, headers):
    lines = [f"{method} {split(url)[2]} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join([*lines, "", body.decode()])


def parsed(body):
    """Parses a JSON body. Returns any other body as text."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def pretty(answer):
    return answer if isinstance(answer, str) else json.dumps(answer, indent=2, ensure_ascii=False)


def phrase(status):
    return http.client.responses.get(status, "")


def in_words(error):
    """Describes an error for the user."""
    if isinstance(error, ConnectionRefusedError):
        return "No answer: nothing listens at the API address"
    if isinstance(error, socket.gaierror):
        return "No answer: there is no host of this name"
    if isinstance(error, socket.timeout):
        return "No answer within 30 seconds"
    if isinstance(error, ssl.SSLError):
        return f"No safe connection: {error.reason}"
    if isinstance(error, http.client.InvalidURL):
        return f"This address cannot be used: {error}"
    if isinstance(error, (ConnectionError, http.client.HTTPException)):
        return "The connection broke before there was an answer"
    return f"{str(error)[:1].upper()}{str(error)[1:]}" or type(error).__name__


def main():
    try:
        window = Window()
    except tk.TclError as error:
        sys.exit(f"Cannot open a window: {error}")
    window.mainloop()


if __name__ == "__main__":
    run(main, __doc__, 0)
