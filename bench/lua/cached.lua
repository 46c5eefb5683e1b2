-- Targets that come back, in heads of which no two are alike: called with a seed, the number of targets, and how many
-- to go on by from one to the next, so that the order is not that in which they were stored.
local number = 0
local seed = "0"
local count = 1000
local step = 1

function init(args)
  seed = args[1] or "0"
  count = tonumber(args[2] or "1000")
  step = tonumber(args[3] or "1")
end

function request()
  number = number + 1
  return "GET /cached/" .. (number * step) % count .. " HTTP/1.1\r\n" ..
    "Host: bench\r\n" ..
    "Referer: http://shop.example/list/" .. seed .. "-" .. number .. "\r\n\r\n"
end
