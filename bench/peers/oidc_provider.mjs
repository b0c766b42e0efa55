// oidc-provider with the key of the file: oidc_provider.mjs KEY PORT
//
// One client, whose client credentials get an access token for one resource, which is a JWT.

import { readFileSync } from "node:fs";
import { Provider } from "oidc-provider";

const [keyFile, port] = process.argv.slice(2);
const resource = "https://api.example";

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [JSON.parse(readFileSync(keyFile, "utf8"))] },
  clients: [
    {
      client_id: "bench",
      client_secret: "secret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      getResourceServerInfo: () => ({
        scope: "",
        accessTokenTTL: 3600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  ttl: { ClientCredentials: 3600 },
});
provider.listen(Number(port), "127.0.0.1");
