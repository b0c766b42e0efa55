-- oidc-provider-mock signs a token at the end of the authorization code flow only: each token takes
-- two requests, the first of which answers with a code in a redirect. Prints what load.lua prints,
-- and counts tokens as requests.

local REDIRECT = "https://client.example/cb"
local threads = {}
local codes = {}
local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }

tokens = 0

function setup(thread)
   table.insert(threads, thread)
end

function request()
   local code = table.remove(codes)
   if code then
      local body = "grant_type=authorization_code&client_id=bench&client_secret=secret&code="
      return wrk.format("POST", "/oauth2/token", form, body .. code .. "&redirect_uri=" .. REDIRECT)
   end
   local query = "?response_type=code&client_id=bench&scope=openid&redirect_uri=" .. REDIRECT
   return wrk.format("POST", "/oauth2/authorize" .. query, form, "sub=bench")
end

function response(status, headers, body)
   local location = headers["Location"] or headers["location"]
   if location then
      table.insert(codes, location:match("code=([^&]+)"))
   elseif body:find('"id_token"', 1, true) then
      tokens = tokens + 1
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   local minted = 0
   for _, thread in ipairs(threads) do
      minted = minted + thread:get("tokens")
   end
   print("requests " .. minted)
   print("seconds " .. summary.duration / 1e6)
   print("status " .. errors.status)
   print("socket " .. errors.connect + errors.read + errors.write + errors.timeout)
end
