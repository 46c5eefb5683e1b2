-- Heads of which no two are alike: path, query and cookie carry a number that never comes back.
local number = 0
local seed = "0"

function init(args)
  seed = args[1] or "0"
end

function request()
  number = number + 1
  return "GET /items/" .. number .. "/details?run=" .. seed .. "&page=" .. number .. " HTTP/1.1\r\n" ..
    "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\n" ..
    "Cookie: session=" .. seed .. "-" .. number .. "\r\n\r\n"
end
