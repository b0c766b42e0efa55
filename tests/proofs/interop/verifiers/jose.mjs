// npm jose: one question a line on stdin, one verdict a line on stdout.
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

for await (const line of createInterface({ input: process.stdin })) {
  const { token, jwks, issuer, audience, alg } = JSON.parse(line);
  let why = "";
  try {
    await jwtVerify(token, createRemoteJWKSet(new URL(jwks)), {
      algorithms: [alg],
      issuer,
      audience,
      requiredClaims: ["exp"],
    });
  } catch (error) {
    why = `${error.name}: ${error.message}`;
  }
  console.log(JSON.stringify({ why }));
}
