// Verifiers in node, with their defaults. Arguments: which one, the issuer, the audience, the
// algorithm. "ready" on stdout when all is loaded; then it fetches as soon as the issuer's port is
// open, and answers a line of JSON: why it could not, or "". A token a line on stdin; on stdout as
// many lines of JSON, each with the reason of a refusal, or "".
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import Hapi from "@hapi/hapi";
import Jwt from "@hapi/jwt";
import { auth } from "express-oauth2-jwt-bearer";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [name, issuer, audience, alg] = process.argv.slice(2);
const jwks = `${issuer}/.well-known/jwks.json`;

async function jose() {
  const keys = createRemoteJWKSet(new URL(jwks));
  return {
    fetch: () => keys.reload(),
    verify: (token) => jwtVerify(token, keys, { issuer, audience, algorithms: [alg] }),
  };
}

// It fetches with the first token, and not before.
async function express() {
  const check = auth({ issuerBaseURL: issuer, audience });
  const verify = (token) =>
    new Promise((accept, refuse) => {
      const headers = { host: "localhost", authorization: `Bearer ${token}` };
      const request = { method: "GET", protocol: "http", originalUrl: "/", url: "/", headers };
      Object.assign(request, { query: {}, is: () => false, get: (name) => headers[name.toLowerCase()] });
      check(request, {}, (error) => (error ? refuse(error) : accept()));
    });
  return { fetch: async () => {}, verify };
}

async function hapi() {
  const server = Hapi.server();
  await server.register(Jwt);
  server.auth.strategy("token", "jwt", {
    keys: { uri: jwks, algorithms: [alg] },
    verify: { aud: audience, iss: issuer, sub: false },
    validate: () => ({ isValid: true }),
  });
  server.route({ method: "GET", path: "/", options: { auth: "token" }, handler: () => "ok" });
  const verify = async (token) => {
    const headers = { authorization: `Bearer ${token}` };
    const { statusCode, payload } = await server.inject({ url: "/", headers });
    if (statusCode !== 200) throw new Error(payload);
  };
  return { fetch: () => server.initialize(), verify };
}

async function reason(promise) {
  try {
    await promise;
    return "";
  } catch (error) {
    return `${error.name}: ${error.message}` || "refused";
  }
}

function isOpen(port) {
  return new Promise((tell) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => tell(true) || socket.destroy());
    socket.once("error", () => tell(false));
  });
}

const { fetch, verify } = await { jose, express, hapi }[name]();
console.log("ready");
while (!(await isOpen(new URL(issuer).port))) await pause(10);
let why;
do why = await reason(fetch());
while (/503|timed out/.test(why)); // no key yet: who cannot start is started again
console.log(JSON.stringify(why));
for await (const token of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await reason(verify(token))));
}
process.exit(0);
