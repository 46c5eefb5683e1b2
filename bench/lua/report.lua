-- Appended to every script: the figures that wrk knows and does not print. Latencies are in microseconds.
function done(summary, latency, requests)
  io.write(string.format("bench: p99.9 %d us, %d bytes\n", latency:percentile(99.9), summary.bytes))
end
