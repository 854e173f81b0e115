-- Events for wrk, none with an id that was sent before: wrk … -s events.lua URL -- KEY EVENTS
-- One event a request, or a batch.

local prefix, counter, headers, events = "", 0, {}, 1

local TRACK = '{"type":"track","messageId":"%s-%09d","event":"Order Completed","userId":"user-%08d",'
  .. '"anonymousId":"anon-%08d","timestamp":"%s","properties":{"order_id":"%08d","total":49.90,'
  .. '"currency":"EUR","quantity":3,"sku":"SKU-00042","is_gift":false,"coupon":null,'
  .. '"categories":["garden","tools"]},"context":{"ip":"203.0.113.7","locale":"de-CH",'
  .. '"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0",'
  .. '"page":{"path":"/products/42","title":"Product 42"},'
  .. '"library":{"name":"analytics-node","version":"3.1.0"}}}'

local function random_hex()
  local source = assert(io.open("/dev/urandom", "rb"))
  local bytes = source:read(12)
  source:close()
  return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

function init(arguments)
  prefix = random_hex()
  headers["X-API-Key"] = arguments[1]
  headers["Content-Type"] = "application/json"
  events = tonumber(arguments[2] or "1")
end

local function track(now)
  counter = counter + 1
  return TRACK:format(prefix, counter, counter, counter, now, counter)
end

function request()
  local now = os.date("!%Y-%m-%dT%H:%M:%SZ")
  if events == 1 then
    return wrk.format("POST", "/v1/track", headers, track(now))
  end
  local batch = {}
  for place = 1, events do
    batch[place] = track(now)
  end
  return wrk.format("POST", "/v1/batch", headers, '{"batch":[' .. table.concat(batch, ",") .. "]}")
end
