-- Sends each request of a file once: `wrk … -- <file>`. The first line of the file is the common start
-- of all requests, the second is their body, and each further line holds the other headers of one
-- request. A tab stands for the end of a line of HTTP.

local requests, sent = {}, 0

function init(args)
  local lines = io.lines(args[1])
  local head = lines():gsub("\t", "\r\n")
  local body = lines()
  for headers in lines do
    requests[#requests + 1] = head .. headers:gsub("\t", "\r\n") .. "\r\n" .. body
  end
end

function request()
  sent = sent + 1
  if sent > #requests then
    io.stdout:write('{"ranOut":true}\n')
    io.stdout:flush()
    os.exit(3)
  end
  return requests[sent]
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"refused":%d,"failed":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
