-- Heads of the size that a browser sends: about 600 bytes in 15 fields, of which no two are alike.
local number = 0
local seed = "0"
local fixed

function init(args)
  seed = args[1] or "0"
  fixed = "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\n" ..
    "Connection: keep-alive\r\n" ..
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" ..
    "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n" ..
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n" ..
    "Accept-Encoding: gzip, deflate, br\r\n" ..
    "Cache-Control: max-age=0\r\n" ..
    "DNT: 1\r\n" ..
    "Priority: u=0, i\r\n" ..
    "Sec-Fetch-Dest: document\r\n" ..
    "Sec-Fetch-Mode: navigate\r\n" ..
    "Sec-Fetch-Site: same-origin\r\n" ..
    "Upgrade-Insecure-Requests: 1\r\n"
end

function request()
  number = number + 1
  return "GET /shop/items/" .. number .. "?run=" .. seed .. " HTTP/1.1\r\n" .. fixed ..
    "Referer: http://shop.example/list/" .. number .. "\r\n" ..
    "Cookie: session=" .. seed .. "-" .. number .. "; theme=dark\r\n\r\n"
end
