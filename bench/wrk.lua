-- wrk … --script wrk.lua URL -- FILE: sends the requests in FILE (separated by NUL bytes), each with
-- event ids that no request had before.

local requests, sent = {}, 0

-- Splits a request at the first 8 characters of each event id: they become the request's number.
local function split(text)
  local parts, from = {}, 1
  for before, after in text:gmatch('"messageId":"()%x%x%x%x%x%x%x%x()') do
    parts[#parts + 1] = text:sub(from, before - 1)
    from = after
  end
  parts[#parts + 1] = text:sub(from)
  return parts
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for text in (file:read("*a") .. "\0"):gmatch("(.-)%z") do
    table.insert(requests, split(text))
  end
  file:close()
end

function request()
  sent = sent + 1
  return table.concat(requests[sent % #requests + 1], string.format("%08x", sent))
end
