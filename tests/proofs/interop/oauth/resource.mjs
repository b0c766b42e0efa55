// A protected resource that knows the URL of its issuer alone, and its own name.
// Arguments: issuer, audience. It prints its URL, and serves until its stdin ends. Below /jose it
// verifies with jose and the discovered jwks_uri, below /oauth4webapi with that library (RFC 9068).
import { createServer } from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import * as oauth from "oauth4webapi";

const [issuer, audience] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: issuer.startsWith("http:") };

async function discover() {
  const url = new URL(issuer);
  const response = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure });
  return oauth.processDiscoveryResponse(url, response);
}

const metadata = await discover();

// Every token has a key of its own, so an unknown kid may not wait for the usual 30 seconds.
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 0 });

const verifiers = {
  "/jose": (authorization) =>
    jwtVerify(authorization.replace(/^Bearer /, ""), keys, {
      issuer: metadata.issuer,
      audience,
      typ: "at+jwt",
      algorithms: metadata.id_token_signing_alg_values_supported,
      requiredClaims: ["exp", "iat", "jti", "sub", "client_id"],
    }),
  // The library keeps a key set for a minute at least, by metadata object: a copy has none.
  "/oauth4webapi": (authorization) =>
    oauth.validateJwtAccessToken(
      { ...metadata },
      new Request("http://resource.example/", { headers: { authorization } }),
      audience,
      insecure,
    ),
};

const REFUSALS = [errors.JOSEError, oauth.OperationProcessingError, oauth.UnsupportedOperationError];

async function statusOf({ url, headers }) {
  if (headers.authorization === undefined) return 401;
  try {
    await verifiers[url](headers.authorization);
    return 200;
  } catch (error) {
    if (REFUSALS.some((refusal) => error instanceof refusal)) return 401;
    console.error(error);
    return 500;
  }
}

const server = createServer(async (request, response) => {
  response.writeHead(await statusOf(request)).end();
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
process.stdin.resume().on("end", () => process.exit());
