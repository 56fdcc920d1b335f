-- SPDX-License-Identifier: MIT
-- Lua with lua-posix, or LuaJIT with its ffi: a table of tables and strings.
local fork, wait, leave, pause
if jit then
	local ffi = require 'ffi'
	ffi.cdef 'int fork(void); int waitpid(int, int *, int); void _exit(int); int usleep(unsigned);'
	fork, leave = ffi.C.fork, ffi.C._exit
	wait = function(pid)
		local status = ffi.new 'int[1]'
		ffi.C.waitpid(pid, status, 0)
		return status[0] / 256
	end
	pause = function(seconds) ffi.C.usleep(seconds * 1e6) end
else
	fork, leave = require('posix.unistd').fork, require('posix.unistd')._exit
	wait = function(pid)
		local _, how, status = require('posix.sys.wait').wait(pid)
		return how == 'exited' and status
	end
	pause = function(seconds)
		require('posix.time').nanosleep { tv_sec = 0, tv_nsec = math.floor(seconds * 1e9) }
	end
end
local mib, forks = tonumber(os.getenv 'MB' or 600), tonumber(os.getenv 'FORKS' or 5)
local count, data = mib * (jit and 7500 or 6300), {}
for i = 1, count do data[i] = { i, 'value of ' .. i } end
io.stdout:setvbuf 'no'
local function check()
	local sum = 0
	for i = 1, count, 31 do sum = (sum * 33 + data[i][1] + #data[i][2]) % 1000000007 end
	return string.format('%d', sum)
end
for round = 0, forks - 1 do
	local pid = fork()
	if pid == 0 then
		for i = round + 1, count, 2000 do data[i] = { i + 1, 'a child' } end
		print('child', round, check())
		leave(round)
	end
	assert(wait(pid) == round, 'the child ended otherwise')
	for i = round + 1, count, 1000 do data[i] = { i + round, 'changed ' .. round } end
	print('parent', round, check())
	pause(tonumber(os.getenv 'PAUSE' or 0.1))
end
collectgarbage()
print('end', check())
