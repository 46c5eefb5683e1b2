-- Requests with a body that is made here, of as many bytes as the word after the seed says. The target tells the backend
-- how many it must count.
function init(args)
  local size = args[2] or "0"
  wrk.method = "POST"
  wrk.path = "/sink/" .. size
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.body = string.rep("0123456789abcdef", tonumber(size) / 16)
end
