# ruby-jwt: one question a line on stdin, one verdict a line on stdout.
require "json"
require "jwt"
require "net/http"

$stdout.sync = true
$stdin.each_line do |line|
  question = JSON.parse(line)
  why = ""
  begin
    loader = ->(_) { JSON.parse(Net::HTTP.get(URI(question["jwks"])), symbolize_names: true) }
    JWT.decode(
      question["token"], nil, true,
      algorithms: [question["alg"]], jwks: loader,
      iss: question["issuer"], verify_iss: true,
      aud: question["audience"], verify_aud: true,
      verify_iat: true, required_claims: ["exp"]
    )
  rescue StandardError, NotImplementedError => error
    why = "#{error.class}: #{error.message}"
  end
  puts JSON.generate(why: why.dup.force_encoding("UTF-8").scrub)
end
