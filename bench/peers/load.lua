-- One request again and again, given as arguments: METHOD [BODY [CONTENT-TYPE]].
-- What wrk measured is printed as lines "name value".

function init(args)
   wrk.method = args[1] or "GET"
   wrk.body = args[2]
   wrk.headers["Content-Type"] = args[3]
   if wrk.method == "POST" and not wrk.body then
      wrk.headers["Content-Length"] = "0"
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   print("requests " .. summary.requests)
   print("seconds " .. summary.duration / 1e6)
   print("status " .. errors.status)
   print("socket " .. errors.connect + errors.read + errors.write + errors.timeout)
end
