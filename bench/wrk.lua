-- wrk … --script wrk.lua URL -- FILE: sends the requests in FILE (separated by NUL bytes), each with
-- event ids that no request had before.

local requests, sent = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for text in (file:read("*a") .. "\0"):gmatch("(.-)%z") do
    table.insert(requests, text)
  end
  file:close()
end

function request()
  sent = sent + 1
  local text = requests[sent % #requests + 1]
  -- The first 8 characters of an event id are random, and become the number of the request.
  return (text:gsub('("messageId":")%x%x%x%x%x%x%x%x', string.format("%%1%08x", sent)))
end
