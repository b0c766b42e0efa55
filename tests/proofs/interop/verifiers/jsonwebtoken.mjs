// npm jsonwebtoken with jwks-rsa: one question a line on stdin, one verdict a line on stdout.
import { createInterface } from "node:readline";
import jwt from "jsonwebtoken";
import jwksRsa from "jwks-rsa";

for await (const line of createInterface({ input: process.stdin })) {
  const { token, jwks, issuer, audience, alg } = JSON.parse(line);
  const client = jwksRsa({ jwksUri: jwks });
  const key = (header, done) =>
    client.getSigningKey(header.kid, (error, found) => done(error, found && found.getPublicKey()));
  const why = await new Promise((resolve) => {
    try {
      jwt.verify(token, key, { algorithms: [alg], issuer, audience }, (error) =>
        resolve(error ? `${error.name}: ${error.message}` : ""),
      );
    } catch (error) {
      resolve(`${error.name}: ${error.message}`);
    }
  });
  console.log(JSON.stringify({ why }));
}
