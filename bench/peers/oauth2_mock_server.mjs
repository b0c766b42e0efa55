// oauth2-mock-server with the key of the file: oauth2_mock_server.mjs KEY PORT

import { readFileSync } from "node:fs";
import { OAuth2Server } from "oauth2-mock-server";

const [keyFile, port] = process.argv.slice(2);
const server = new OAuth2Server();
await server.issuer.keys.add(JSON.parse(readFileSync(keyFile, "utf8")));
await server.start(Number(port), "127.0.0.1");
