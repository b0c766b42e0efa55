// What openid-client gets from an issuer of which it knows the URL alone.
// Arguments: issuer, client id, client secret, scope, resource. Answer: JSON on stdout.
import * as oidc from "openid-client";

const [issuer, id, secret, scope, resource] = process.argv.slice(2);
const execute = issuer.startsWith("http:") ? [oidc.allowInsecureRequests] : [];

const discover = (algorithm, authentication) =>
  oidc.discovery(new URL(issuer), id, secret, authentication, { algorithm, execute });

async function grant(algorithm, authentication) {
  const config = await discover(algorithm, authentication(secret));
  const token = await oidc.clientCredentialsGrant(config, { scope, resource });
  const claims = await oidc.tokenIntrospection(config, token.access_token);
  return { algorithm, authentication: authentication.name, token, claims };
}

async function errorOf(promise) {
  try {
    return { unexpected: await promise };
  } catch (error) {
    return { name: error.name, error: error.error, status: error.status };
  }
}

async function refusals() {
  const config = await discover("oauth2");
  const password = { username: "name", password: "word" };
  return {
    unsupported_grant_type: await errorOf(oidc.genericGrantRequest(config, "password", password)),
    invalid_scope: await errorOf(oidc.clientCredentialsGrant(config, { scope: 'a "b"' })),
    invalid_target: await errorOf(oidc.clientCredentialsGrant(config, { resource: "no URI" })),
  };
}

const grants = [];
for (const algorithm of ["oidc", "oauth2"]) {
  for (const authentication of [oidc.ClientSecretPost, oidc.ClientSecretBasic]) {
    grants.push(await grant(algorithm, authentication));
  }
}
const config = await discover("oidc");
const garbage = await oidc.tokenIntrospection(config, "garbage");
console.log(JSON.stringify({ grants, garbage, refusals: await refusals() }));
