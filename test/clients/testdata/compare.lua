-- Compares every answer that wrk gets with a file, whose name is the argument.
local threads = {}
local file

function setup(thread)
	table.insert(threads, thread)
end

function init(args)
	wrong, right, first = 0, 0, ""
	local f = assert(io.open(args[1], "rb"))
	file = f:read("*a")
	f:close()
end

function response(status, headers, body)
	if status == 200 and body == file then
		right = right + 1
	else
		wrong = wrong + 1
		if first == "" then first = status .. " with " .. #body .. " bytes" end
	end
end

function done(summary, latency, requests)
	local e = summary.errors
	for _, thread in ipairs(threads) do
		io.write(string.format("compared: %d right, %d wrong (%s), errors: %d\n", thread:get("right"), thread:get("wrong"),
			thread:get("first"), e.connect + e.read + e.write + e.status + e.timeout))
	end
end
