"""samba-lm serve-stdio from outside: usage test_serve.py SAMBA_LM MODEL STREAM_EXAMPLE."""
import json
import os
import subprocess
import sys
import tempfile

LM, MODEL, EXAMPLE = sys.argv[1:4]
PROMPT = "It was a dark night, and"


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([LM, "serve-stdio", MODEL, *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, encoding="utf-8")
        assert self.event()["event"] == "ready"

    def send(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def event(self):
        line = self.process.stdout.readline()
        assert line, "the server has ended"
        return json.loads(line)

    def until(self, kind, who=None):
        """Events of `who` up to and with the first of the kind; others are dropped."""
        seen = []
        while True:
            e = self.event()
            if who is not None and e.get("id") != who:
                continue
            seen.append(e)
            if e["event"] == kind:
                return seen

    def close(self):
        self.process.stdin.close()
        rest = [json.loads(line) for line in self.process.stdout]
        assert self.process.wait(60) == 0
        return rest


def text_of(events):
    return "".join(e["text"] for e in events if e["event"] in ("token", "done"))


def generated(n, *options):
    run = subprocess.run([LM, "generate", MODEL, PROMPT, "-n", str(n), "--json", "--ignore-eos", *options],
                         capture_output=True, text=True, check=True, encoding="utf-8")
    return json.loads(run.stdout)


def test_same_as_generate():
    s = Server()
    for i in range(6):
        s.send(op="start", id=f"c{i}", prompt=PROMPT, max_tokens=20 + i, seed=i, temperature=0.9, ignore_eos=True)
    events = s.close()
    for i in range(6):
        mine = [e for e in events if e.get("id") == f"c{i}"]
        want = generated(20 + i, "--temp", "0.9", "--seed", str(i))
        assert [e["token"] for e in mine if e["event"] == "token"] == want["tokens"], i
        assert text_of(mine) == want["text"], i
        assert sum(e["event"] == "done" for e in mine) == 1 and mine[-1]["event"] == "done"
        assert mine[-1]["reason"] == "length" and mine[-1]["tokens"] == 20 + i


def test_save_and_resume():
    want = generated(24, "--greedy")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "talk.samba")
        s = Server()
        s.send(op="start", id="a", prompt=PROMPT, max_tokens=12, ignore_eos=True)
        first = text_of(s.until("done", "a"))
        s.send(op="save", id="a", file=path)
        s.until("saved", "a")
        s.close()
        s = Server()
        s.send(op="resume", id="b", file=path)
        s.until("resumed", "b")
        s.send(op="start", id="b", max_tokens=12, ignore_eos=True)
        second = text_of(s.until("done", "b"))
        assert first + second == want["text"], (first, second, want["text"])
        s.send(op="resume", id="c", file=path + ".none")
        assert "talk.samba.none" in s.until("error", "c")[-1]["message"]
        s.close()


def test_cancel_stop_and_stats():
    s = Server()
    s.send(op="start", id="x", prompt=PROMPT, max_tokens=100000, ignore_eos=True)
    s.until("token", "x")
    s.send(op="start", id="x", max_tokens=1)
    assert "being continued" in s.until("error", "x")[-1]["message"]
    s.send(op="stats")
    assert s.until("stats")[-1]["open"] == 1
    s.send(op="cancel", id="x")
    assert s.until("done", "x")[-1]["reason"] == "cancelled"
    word = generated(12, "--greedy")["text"].split()[3]
    s.send(op="start", id="y", prompt=PROMPT, stop=[word], max_tokens=50, ignore_eos=True)
    events = s.until("done", "y")
    assert events[-1]["reason"] == "string" and events[-1]["stop"] == 0
    assert word not in text_of(events)
    s.send(op="drop", id="y")
    s.until("dropped", "y")
    s.send(op="cancel", id="y")
    assert "no such" in s.until("error", "y")[-1]["message"]
    assert s.close() == []


def test_cache():
    want = generated(8, "--greedy")
    with tempfile.TemporaryDirectory() as folder:
        s = Server("--cache", "64", "--cache-dir", folder)

        def ask(who, **request):
            s.send(op="start", id=who, ignore_eos=True, **request)
            events = s.until("done", who)
            return events[0], events[-1]["position"], text_of(events)

        first, end, text = ask("a", prompt=PROMPT, max_tokens=8)
        assert first["event"] == "started" and text == want["text"]
        length = end - 8
        assert (first["matched"], first["restored"], first["replayed"]) == (0, 0, length), first
        again, _, text = ask("b", prompt=PROMPT, max_tokens=8)
        assert text == want["text"] and again["why"] == "all tokens were found", again
        assert (again["restored"], again["replayed"], again["from_file"]) == (length, 0, False), again
        # The conversation so far, in a new one, and going on: nothing of it is read again.
        run = subprocess.run([LM, "tokenize", MODEL, PROMPT, "--json"], capture_output=True, text=True, check=True)
        ids = json.loads(run.stdout)["tokens"]
        longer, _, _ = ask("c", tokens=ids[len(ids) - length:] + want["tokens"] + want["tokens"][:2], max_tokens=1)
        assert (longer["restored"], longer["replayed"]) == (end, 2), longer
        onward, _, _ = ask("a", tokens=want["tokens"][:2], max_tokens=1)
        assert (onward["restored"], onward["replayed"]) == (end + 2, 0), onward
        s.close()
    run = subprocess.run([LM, "serve-stdio", MODEL, "--cache-dir", "/nowhere"], capture_output=True, text=True)
    assert run.returncode == 2 and "--cache" in run.stderr, run
    s = Server()
    s.send(op="start", id="a", prompt=PROMPT, max_tokens=1)
    assert "restored" not in s.until("done", "a")[0]
    s.close()


def test_bad_requests():
    s = Server()
    lines = ["", "[]", "{", '{"op": "start"}', '{"op": "start", "id": 3}', '{"op": "fly", "id": "a"}',
             '{"op": "start", "id": "a"}', '{"op": "start", "id": "a", "prompt": "\\ud800"}',
             '{"op": "start", "id": "a", "prompt": 1}', '{"op": "start", "id": "a", "tokens": [1, -1]}',
             '{"op": "start", "id": "a", "tokens": [99999999]}', '{"op": "save", "id": "a"}',
             '{"op": "start", "id": "a", "prompt": "x", "max_tokens": 1e99}', '{"op": "stats"} x',
             '{"op": "start", "id": "a", "prompt": "x", "priority": 1000}', "\0", '{"a": [[1]]}']
    for line in lines:
        s.process.stdin.write(line + "\n")
    events = s.close()
    assert len(events) == len(lines) and all(e["event"] == "error" for e in events), events


def test_example():
    run = subprocess.run([EXAMPLE, MODEL], input="Once upon a time\n\nIt was a dark night, and\n",
                         stdout=subprocess.PIPE, text=True, check=True, encoding="utf-8")
    lines = run.stdout.splitlines()
    assert any(line.startswith("1. (") for line in lines) and any(line.startswith("2. (") for line in lines)
    first = [line for line in lines if line.startswith("2:")]
    assert first[0] == "2: the" and len(first) >= 1, lines


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print(name, "ok", flush=True)
