-- GETs of <kid>.json, each of any of the kids in a file, a line each: FILE. Prints what load.lua prints.

dofile(debug.getinfo(1, "S").source:match("^@(.*)kids%.lua$") .. "load.lua")

local requests = {}

function init(args)
   for kid in io.lines(args[1]) do
      table.insert(requests, wrk.format("GET", "/.well-known/" .. kid .. ".json"))
   end
   math.randomseed(os.time())
end

function request()
   return requests[math.random(#requests)]
end
