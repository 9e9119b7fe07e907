"""A stand-in for vLLM 0.32.0's server, for guests that are too slow for the real one.

It takes vLLM's arguments (``-m vllm.entrypoints.openai.api_server …`` or ``serve MODEL …``), replays the recorded log
of a real start, runs as the same tree of processes, reads the checkpoint, writes caches, takes memory, and serves the
same endpoints with the same status codes.  It has no dependencies and imports nothing else of the package.

What it does beyond that is told by a JSON object in the file that RIGAPPLIANCE_STANDIN names, else in
/etc/rigappliance-standin.json; no file means an ordinary start.  The file is read again while it serves.

Keys of a start:
  recording        log to replay, below the recordings or absolute ("first-start.log"); a log of a failed start is
                   replayed to its end, and the stand-in leaves as the engine did
  recordings       directory of the recordings, where RIGAPPLIANCE_STANDIN_RECORDINGS names none
  pace             the recorded pauses times this (0.05); 0 is as fast as it can
  pause_s          a pause after every line (0)
  slow             {PHASE: FACTOR}: pauses of that phase times the factor
  jitter           0 to 1: each pause times a random factor within 1 ± jitter
  weights_s        time that loading the weights takes at least (0)
  read_bytes_s     speed limit on reading the checkpoint (none)
  readers          how many of the workers read it (1)
  check            false: the checkpoint is not looked at, nor read
  take             {PHASE: BYTES}: memory that each worker takes in that phase and keeps; spread over the shards in
                   "weights", taken once otherwise; "serving" is when it is ready
  cache_bytes      what the compile phase writes below VLLM_CACHE_ROOT (1 MiB)
  helpers          children that each worker starts while it compiles, one after the other, with its own name (0)
  helper_s         time that each of them lives (1)
  shm_bytes        size of the segment in /dev/shm (1 MiB)
  compiler         true: the compile phase runs a C compiler (CC, else cc) and fails as the engine does without one

Keys of serving, each of which may change at any time:
  health           "hang", a status such as 500, or "alive" (200 whatever happened to the core)
  completions      "hang", "refuse" (500), "empty" (200 without a token), or "busy" (as hang, but token counters move)
  metrics          "hang", or a status
  token_s          time of a token (0)
  answer           text of an answer
  stay             true: a server whose core is dead does not leave
  term             what SIGTERM does: "ignore", or seconds until it leaves; read when the signal comes. Without it, it
                   leaves at once, but from the start of its core until it listens SIGTERM is lost, as the real one's is

  faults           a list of objects, each with
    do             what happens, below
    at             when: a phase, a text that a line of the log has to hold (then after that line), or "serving"
    after_s        so much later (0); the start goes on meanwhile
    id             any value; a fault that was done is done again if this has changed

  PHASE is one of "process start", "config", "workers", "weights", "compile", "profiling", "KV cache", "graph capture",
  "HTTP".  A fault that appears in the file while it serves, with "serving" or without an `at`, is done at once.

What a fault does, with its own keys (defaults in brackets); `who` is "api", "core" or "worker", with `rank` [0]:
  exit             leave at once with `status` [1]; the other processes stay, for a supervisor to end
  kill             send `signal` ["SIGKILL"] to `who` ["worker"]; "SIGSTOP" stops it
  fail             print `text`, the last line of a Python exception in a worker (in the core with `who`), as the
                   engine does, and leave with status 1
  log              print what `recording` says from its first error on, and leave as that did; `status` overrides it
  say              print `text` as a line of `who` ["api"]
  hang             do nothing more in this start; `busy` true uses CPU time meanwhile
  wait             `for_s` in which the start stands still
  line             print a line of `bytes` [10000000]
  noise            print `bytes` [65536] of random bytes
  unended          print no newline for `for_s` [60], a character each `every_s` [1]
  grow             take `step_bytes` [16 MiB] each `every_s` [0.05] in `who` ["worker"] until it is killed, or until
                   `bytes`
  fill             fill the file system of `where` ("/dev/shm", "cache", or a directory) but for `leave_bytes` [0]
  set              change keys of serving: the object `keys`
"""
