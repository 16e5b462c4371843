#!/usr/bin/env bash
# The samba-lm command from outside: what it prints, its exit codes, its JSON, its error messages.
# Usage: test_command.sh SAMBA_LM MODEL FORK     (the bundled model, which has a tokenizer; the
# example of that name)
set -u
lm=$1 model=$2 fork=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0 failures=0

bad() {
  failures=$((failures + 1))
  echo "FAIL: $*"
  [ ! -s "$work/err" ] || sed 's/^/    stderr: /' "$work/err" | head -5
}

# run STATUS ARGS...: runs samba-lm, output in $work/out and $work/err, and checks its exit code.
run() {
  local want=$1
  shift
  "$lm" "$@" >"$work/out" 2>"$work/err" </dev/null
  local got=$?
  checks=$((checks + 1))
  [ "$got" = "$want" ] || bad "samba-lm $* gave exit code $got, not $want"
}

# says FILE TEXT: the file holds the text.
says() {
  checks=$((checks + 1))
  grep -qF -- "$2" "$work/$1" || bad "no \"$2\" in $1: $(head -c 300 "$work/$1")"
}

same() { # A B WHAT
  checks=$((checks + 1))
  cmp -s "$1" "$2" || bad "$3: $(head -c 200 "$1") | $(head -c 200 "$2")"
}

# json EXPRESSION: the output is one JSON object d, and the Python expression on it is true.
json() {
  checks=$((checks + 1))
  python3 -m json.tool <"$work/out" >/dev/null 2>&1 || { bad "not JSON: $(head -c 200 "$work/out")"; return; }
  python3 - "$work/out" "$1" <<'END' || bad "not so: $1 in $(head -c 400 "$work/out")"
import json, sys
d = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(0 if eval(sys.argv[2]) else 1)
END
}

# --- help, version, wrong usage
run 0 --version; says out "samba-lm 0."
run 0 --help; says out "passkey"
for c in generate serve-stdio info tokenize convert quantize perplexity passkey logits bench; do
  run 0 $c --help; says out "usage: samba-lm $c"; says out "--threads"
  run 2 $c; says err "samba-lm: $c needs"
  run 2 $c --no-such-option; says err "unknown option --no-such-option"
  run 2 $c "$model" "$model" "$model"; says err "unexpected argument"
done
"$lm" >/dev/null 2>&1; [ $? = 2 ] || bad "no arguments is no usage error"
run 2 nonsense; says err 'no command "nonsense"'
run 2 generate "$model" x --temp; says err "--temp needs T"
run 2 generate "$model" x --temp 0; says err "--temp must be a number above 0"
run 2 generate "$model" x --temp nan; says err "--temp must be"
run 2 generate "$model" x --top-p 1.5; says err '--top-p must be a number above 0 and at most 1, not "1.5"'
run 2 generate "$model" x --top-k 0; says err "--top-k must be"
run 2 generate "$model" x -n -3; says err "--max-tokens must be a whole number"
run 2 generate "$model" x --logit-bias 5; says err "--logit-bias must be ID=NUMBER"
run 2 generate "$model" x --kv f64; says err "--kv must be f32"
run 2 generate "$model" x --cpu 486; says err "--cpu must be reference"
run 2 generate "$model" x --greedy=1; says err "--greedy takes no value"
run 2 generate "$model" x -f y; says err "more than once"
run 2 logits "$model" --ids 1,x --out "$work/l"; says err "--ids must be token ids"
run 2 logits "$model" --ids 1; says err "logits needs --out"
run 2 perplexity "$model" x --by 0; says err "--by must be at least 1"
run 2 passkey "$model" --depth 2; says err "--depth must be a number from 0 to 1"
run 2 convert "$model" "$work/x.gguf" --type q9; says err "--type must be"
run 2 bench --shape samba-9000b; says err "known shapes: samba-421m"
run 2 bench "$model" --shape samba-421m; says err "bench needs a MODEL or a --shape"
run 2 bench "$model" --only prefill,speed; says err "--only must be of prefill, decode"
run 2 bench "$model" --sessions 33; says err "--sessions is at most 32"
run 2 quantize "$model" "$work/x.gguf"; says err "quantize needs --type TYPE"

# --- things that are not there or not models
run 1 info "$work/none.gguf"; says err "samba-lm: "; says err "none.gguf"
printf 'not a model at all, but long enough to look at' >"$work/bad.gguf"
run 1 generate "$work/bad.gguf" x; says err "samba-lm: "; says err "bad.gguf"
run 1 generate "$model" -f "$work/none.txt"; says err "(${work}/none.txt)"
run 1 logits "$model" --ids 999999 --out "$work/l.safetensors"; says err "999999"
checks=$((checks + 1)); [ ! -e "$work/l.safetensors" ] || bad "a failed logits left its file"

# --- info
run 0 info "$model"; says out "sublayers"; says out "mamba"; says out "window 512"
run 0 info "$model" --json
json 'd["n_vocab"] == 8192 and d["n_blocks"] == 12 and len(d["sublayers"]) == d["n_sublayers"]'
json 'd["has_tokenizer"] is True and len(d["fingerprint"]) == 32 and d["state_bytes_per_token"] == 0'
json 'sum(s["weight_bytes"] for s in d["sublayers"]) <= d["weight_bytes"]'

# --- tokenize
printf 'It was 1859;\n\t"naïve" café — \xf0\x9f\x98\x80 \xff\xfe bytes' >"$work/text"
run 0 tokenize "$model" -f "$work/text" --ids; cp "$work/out" "$work/ids"
"$lm" tokenize "$model" --ids <"$work/text" >"$work/ids2"; same "$work/ids" "$work/ids2" "stdin and -f"
run 0 tokenize "$model" -f "$work/ids" --decode; same "$work/out" "$work/text" "tokens and back"
run 0 tokenize "$model" -f "$work/ids" --decode --json; json '"caf\u00e9" in d["text"] and "\ufffd" in d["text"]'
run 0 tokenize "$model" -f "$work/text" --json; json 'd["n_tokens"] == len(d["tokens"]) > 10'
run 0 tokenize "$model" "a b"; says out '" b"'
run 2 tokenize "$model" "1 x" --decode; says err "token ids"

# --- generate
prompt="The old man opened the door and"
run 0 generate "$model" "$prompt" --greedy -n 24; cp "$work/out" "$work/greedy"; says out "$prompt"
run 0 generate "$model" "$prompt" --greedy -n 24 --threads 1; same "$work/out" "$work/greedy" "one thread"
printf %s "$prompt" >"$work/prompt"
run 0 generate "$model" -f "$work/prompt" --greedy --max-tokens=24; same "$work/out" "$work/greedy" "prompt from a file"
"$lm" generate "$model" --greedy -n 24 <"$work/prompt" >"$work/out"; same "$work/out" "$work/greedy" "prompt from stdin"
run 0 generate "$model" "$prompt" --greedy -n 24 --no-prompt
{ printf %s "$prompt"; cat "$work/out"; } >"$work/joined"; same "$work/joined" "$work/greedy" "prompt left out"
run 0 generate "$model" "$prompt" --greedy -n 24 --json --stats; says err "tokens/s"
json 'len(d["tokens"]) == 24 and d["stop"] == "length" and d["stop_token"] == -1 and d["state_bytes"] > 0'
python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(sys.argv[2]+d["text"])' "$work/out" "$prompt" >"$work/joined"
same "$work/joined" "$work/greedy" "text in JSON"
first=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["tokens"][0])' "$work/out")
fourth=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["tokens"][3])' "$work/out")
run 0 generate "$model" "$prompt" --greedy -n 24 --json --stop-id "$fourth"
json "d['stop'] == 'token' and d['stop_token'] == $fourth and len(d['tokens']) <= 3"
run 0 generate "$model" "$prompt" --logit-bias "$first=-inf" --greedy -n 8 --json; json "d['tokens'][0] != $first"
run 1 generate "$model" "$prompt" --greedy --logit-bias "$first=-inf"; says err "stage 1 (logit_bias) left no token"
run 0 tokenize "$model" "$prompt" --ids; ids=$(cat "$work/out")
run 0 generate "$model" --ids "$ids" --greedy -n 24 --no-prompt
{ printf %s "$prompt"; cat "$work/out"; } >"$work/joined"; same "$work/joined" "$work/greedy" "prompt as ids"
sampled() { run 0 generate "$model" "$prompt" -n 24 --no-prompt "$@"; cp "$work/out" "$work/s-$n"; n=$((n + 1)); }
n=1
sampled --seed 5; sampled --seed 5; sampled --seed 6
sampled --temp 3 --top-p 0.6 --seed 5; sampled --top-p 0.6 --temp 3 --seed 5
sampled --top-k 40 --min-p 0.02 --typical-p 0.9 --repeat-penalty 1.2 --frequency-penalty 0.1 --presence-penalty 0.1 --last-n all
sampled --temp 0.8 --top-p 0.95 --seed 5
same "$work/s-1" "$work/s-2" "one seed, one text"
same "$work/s-1" "$work/s-7" "the documented default"
for pair in "1 3" "4 5" "1 6"; do
  set -- $pair
  checks=$((checks + 1)); ! cmp -s "$work/s-$1" "$work/s-$2" || bad "samples $1 and $2 are the same"
done
checks=$((checks + 1))
if [ -e /dev/full ]; then "$lm" generate "$model" "$prompt" -n 4 >/dev/full 2>"$work/err"; [ $? = 1 ] || bad "a full disk went unnoticed"; fi

# --- interrupts: the first ends the text cleanly, the second the program
python3 - "$lm" "$model" >"$work/out" 2>"$work/err" <<'END' || bad "interrupts: $(cat "$work/out")"
import json, signal, subprocess, sys
lm, model = sys.argv[1:]
p = subprocess.Popen([lm, "generate", model, "It was", "-n", "100000000", "--ignore-eos", "--stats"],
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
p.stdout.read(200)
p.send_signal(signal.SIGINT)
out, err = p.communicate(timeout=60)
assert p.returncode == 130 and out.endswith(b"\n") and b"interrupted" in err and b"tokens/s" in err, (p.returncode, err)
p = subprocess.Popen([lm, "passkey", model, "--tokens", "100000000", "--samples", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
try:
    p.wait(3)
except subprocess.TimeoutExpired:
    pass
p.send_signal(signal.SIGINT)
try:
    p.wait(1)
except subprocess.TimeoutExpired:
    p.send_signal(signal.SIGINT)
assert p.wait(60) == 130, p.returncode
END
checks=$((checks + 1))

# --- logits and perplexity agree
run 0 tokenize "$model" -f "$work/prompt" --json
ids=$(python3 -c 'import json,sys; print(*json.load(open(sys.argv[1]))["tokens"], sep=",")' "$work/out")
run 0 logits "$model" --ids "$ids" --all --kv f32 --out "$work/all.safetensors" --json; json 'd["n_vocab"] == 8192 and d["rows"] > 3'
run 0 logits "$model" --ids "$ids" --kv f32 --out "$work/last.safetensors"
run 0 perplexity "$model" "$work/prompt" --kv f32 --by 2 --json; json 'd["n_scored"] == d["n_tokens"] - 1 and len(d["nll_by"]) == d["n_tokens"] // 2'
checks=$((checks + 1))
python3 - "$work" "$ids" <<'END' >"$work/cmp" 2>&1 || bad "logits and perplexity: $(tail -n 1 "$work/cmp")"
import json, math, struct, sys
def load(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    t = json.loads(raw[8:8 + n])["logits"]
    rows, vocab = t["shape"]
    assert t["dtype"] == "F32" and t["data_offsets"] == [0, len(raw) - 8 - n] and n % 8 == 0
    data = struct.unpack(f"<{rows * vocab}f", raw[8 + n:])
    return [data[i * vocab:(i + 1) * vocab] for i in range(rows)]
work, ids = sys.argv[1], [int(x) for x in sys.argv[2].split(",")]
rows, last = load(work + "/all.safetensors"), load(work + "/last.safetensors")
assert len(rows) == len(ids) and len(last) == 1 and last[0] == rows[-1]
nll = []
for row, token in zip(rows, ids[1:]):
    m = max(row)
    nll.append(m + math.log(sum(math.exp(x - m) for x in row)) - row[token])
got = json.load(open(work + "/out"))
assert abs(got["nll"] - sum(nll) / len(nll)) < 1e-4, (got["nll"], sum(nll) / len(nll))
assert all(abs(got["nll_by"][i] - (nll[2 * i] + nll[2 * i + 1]) / 2) < 1e-4 for i in (0, 1)), got["nll_by"]
assert abs(got["perplexity"] - math.exp(got["nll"])) < 1e-3 * got["perplexity"]
END
for i in $(seq 60); do printf 'The rain came down upon the roof of the old house, and nobody spoke a word.\n'; done >"$work/rain"
run 0 perplexity "$model" "$work/rain" --by 256 --json; json 'd["nll_by"][2] < d["nll_by"][0]'
run 0 perplexity "$model" "$work/rain" --limit 100; says out "100 tokens"
run 1 perplexity "$model" "$work/rain" --limit 1; says err "2 are needed"

# --- pass key
run 0 passkey "$model" --tokens 600,2000 --samples 3 --json
json '[r["tokens"] for r in d["results"]] == [600, 2000]'
json 'all(r["exact_match"] == 1 and r["digit_accuracy"] == 1 and r["wrong_at_depth"] == [] for r in d["results"])'
json 'all(r["tokens"] - 40 < r["prompt_tokens"][0] <= r["prompt_tokens"][1] <= r["tokens"] for r in d["results"])'
run 0 passkey "$model" --tokens 1200 --samples 1 --depth 0.4 --show --seed 9; says out "the model answers"; says out "(right)"
cp "$work/out" "$work/pass"; run 0 passkey "$model" --tokens 1200 --samples 1 --depth 0.4 --show --seed 9
same <(grep -o 'key is [0-9]*' "$work/pass") <(grep -o 'key is [0-9]*' "$work/out") "keys of one seed"
run 0 passkey "$model" --tokens 800 --samples 2 --filler "$work/rain" --json; json 'abs(d["results"][0]["prompt_tokens"][0] - 800) < 160'

# --- bench
run 0 bench "$model" --quick --repeats 1 --only prefill,decode,batch,clone,profile --json
json 'd["model"] == "samba-13m" and d["quick"] is True and d["peaks"]["read_bytes_per_second"] > 1e8'
json 'd["peaks"]["clock"] > 2e8 and all(p["ops_per_second"] > 1e8 for p in d["peaks"].values() if isinstance(p, dict))'
json '[r["label"] for r in d["results"] if r["part"] == "decode"] == ["at position 256", "at position 4096", "at position 1000000"]'
json 'all(r["seconds"] > 0 and r["ops"] > 0 and r["of_peak"] > 0 for r in d["results"] if r["part"] in ("prefill", "decode", "batch"))'
json '[r["label"] for r in d["results"] if r["part"] == "batch"] == ["1 session", "2 sessions", "4 sessions"]'
json '"scan" in [e["name"] for e in d["prefill_profile"]["entries"]] and d["decode_profile"]["tokens"] == 32'
# What a token of this model costs: 2 operations per weight, 34/32 bytes per weight of a q8_0 matrix.
json 'all(20e6 < r["ops"] / r["tokens"] < 40e6 for r in d["results"] if r["part"] == "decode")'
json 'all(14e6 < r["bytes"] / r["tokens"] < 20e6 for r in d["results"] if r["part"] == "decode")'
run 0 bench "$model" --quick --repeats 1 --only load; says out "clock"; says out "warm cache"; says out "more than in the end"
run 1 bench "$work/none.gguf" --quick; says err "none.gguf"

# --- saved sessions: a second process goes on with the tokens that one alone would have written
run 0 generate "$model" "$prompt" --greedy -n 40 --json; cp "$work/out" "$work/whole"
run 0 generate "$model" "$prompt" --greedy -n 15 --json --save "$work/chat.samba"; cp "$work/out" "$work/first"
run 0 generate "$model" --resume "$work/chat.samba" --greedy -n 25 --json
checks=$((checks + 1))
python3 - "$work" <<'END' || bad "the resumed session went another way"
import json, sys
a, b, c = (json.load(open(sys.argv[1] + "/" + n)) for n in ("whole", "first", "out"))
assert a["tokens"] == b["tokens"] + c["tokens"] and c["prompt_tokens"] == 0
END
run 0 generate "$model" " And then" --resume "$work/chat.samba" --greedy -n 5 --save "$work/more.samba"; says out "And then"
run 0 snapshot info "$work/chat.samba"; says out "zstd"; says out "ssm"
run 0 snapshot info "$work/chat.samba" --json; json 'd["n_tokens"] == d["position"] and d["has_logits"] and d["model"] == "samba-13m" and any(s["name"] == "kv" for s in d["sections"])'
run 0 snapshot verify "$work/chat.samba"; says out "is whole"
run 0 snapshot diff "$work/chat.samba" "$work/chat.samba"; says out "equal"
run 1 snapshot diff "$work/chat.samba" "$work/more.samba" --json; json 'not d["equal"] and any(x["what"] == "position" for x in d["differences"])'
head -c 1000 "$work/chat.samba" >"$work/cut.samba"; run 1 snapshot verify "$work/cut.samba"; says err "cut short"
run 1 generate "$model" --resume "$work/cut.samba"; says err "cut.samba"
run 2 snapshot show "$work/chat.samba"; run 2 snapshot diff "$work/chat.samba"
run 1 generate "$model" "$prompt" -n 1 --save "$work/no/such/folder"; says err "folder"

# --- convert
run 0 convert "$model" "$work/f32.gguf" --type f32 --json; json "d['file_bytes'] == __import__('os').path.getsize('$work/f32.gguf')"
run 0 generate "$work/f32.gguf" "$prompt" --greedy -n 4; says out "$prompt"
run 0 convert "$work/f32.gguf" "$work/f16.gguf" --type f16 --name "a \"name\""; says out "tensors"
run 0 info "$work/f16.gguf" --json; json 'd["name"] == "a \"name\"" and "f16" in d["weight_types"]'
for type in q6_k q4_k q4_0; do
  run 0 quantize "$work/f32.gguf" "$work/$type.gguf" --type $type --json
  json "d['n_kept'] == 0 and d['file_bytes'] == __import__('os').path.getsize('$work/$type.gguf') < 12.5e6"
  run 0 info "$work/$type.gguf" --json; json "'$type' in d['weight_types'] and 'q8_0' in d['weight_types']"
  run 0 perplexity "$work/$type.gguf" "$work/rain" --limit 200 --json; json 'd["nll"] < 3'
done
run 0 convert "$work/q4_k.gguf" "$work/again.gguf"; same "$work/q4_k.gguf" "$work/again.gguf" "a quantised file converted as it is"
run 1 convert "$model" "$work/no/such/folder.gguf"; says err "folder.gguf"
run 1 convert "$work/bad.gguf" "$work/out.gguf"
checks=$((checks + 1)); [ ! -e "$work/out.gguf" ] || bad "a failed conversion left its file"

# --- fork: branches differ, the best is told, the same every time
for i in 1 2; do
  "$fork" "$model" "$prompt" 5 >"$work/fork$i" 2>"$work/err" || bad "fork failed"
done
same "$work/fork1" "$work/fork2" "fork, twice"
checks=$((checks + 2))
python3 - "$work/fork1" "$prompt" <<'END' || bad "fork printed $(cat "$work/fork1")"
import re, sys
text = open(sys.argv[1], encoding="utf-8").read()
means = [float(m) for m in re.findall(r"mean log-probability (-[0-9.]+)", text)]
best = int(re.search(r"^best, branch (\d+): " + re.escape(sys.argv[2]) + ".{20}", text, re.M | re.S).group(1))
clones = float(re.search(r"^5 clones: ([0-9.]+) kB", text, re.M).group(1))
sys.exit(0 if len(set(means)) == 5 and means[best] == max(means) and clones < 50 else 1)
END
"$fork" "$work/none.gguf" >"$work/out" 2>"$work/err"; [ $? = 1 ] || bad "fork without a model"; says err "none.gguf"

echo "$checks checks, $failures failures"
[ $failures = 0 ]
