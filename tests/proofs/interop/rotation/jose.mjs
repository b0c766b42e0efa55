// npm jose. Arguments: the URL of the key set, the issuer, the algorithm, and as JSON the options of
// the key set that is kept for all tokens. A token a line on stdin; on stdout as many lines of JSON,
// each with two reasons for a refusal, empty for none: by the key set that is kept, and by one that
// has just been made, as in a verifier that has just started.
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url, issuer, alg, options] = process.argv.slice(2);
const kept = createRemoteJWKSet(new URL(url), JSON.parse(options));

async function refusal(token, keys) {
  try {
    await jwtVerify(token, keys, { issuer, algorithms: [alg], requiredClaims: ["exp"] });
    return "";
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

for await (const token of createInterface({ input: process.stdin })) {
  const fresh = createRemoteJWKSet(new URL(url));
  console.log(JSON.stringify([await refusal(token, kept), await refusal(token, fresh)]));
}
