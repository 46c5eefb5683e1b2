-- As many requests at once as the word after the seed says, in one write; the next ones when all are answered.
local batch

function init(args)
  batch = string.rep(wrk.format("GET", "/"), tonumber(args[2]))
end

function request()
  return batch
end
