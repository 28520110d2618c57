// A real OpenID Provider for tests: npm oidc-provider, configured by RIG (JSON).
// /rig/rotate?keep=1 makes a new signing key; /rig/claims sets extra claims.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const { port, issuer, alg, keyFile, clients, audiencePrefix } = JSON.parse(process.env.RIG);
let { claims } = JSON.parse(process.env.RIG);
const kinds = { RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };

function newKey() {
  const { privateKey } = generateKeyPairSync(...kinds[alg]);
  // EdDSA under its RFC 8037 name; the library's own default says Ed25519.
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
}

function load() {
  if (!existsSync(keyFile)) writeFileSync(keyFile, JSON.stringify([newKey()]));
  const keys = JSON.parse(readFileSync(keyFile));
  return new Provider(issuer, {
    clients, jwks: { keys },
    scopes: ['openid', 'offline_access', 'gateway'],
    enabledJWA: { idTokenSigningAlgValues: [alg], clientAuthSigningAlgValues: [alg], dPoPSigningAlgValues: ['ES256', 'EdDSA'] },
    clientDefaults: { id_token_signed_response_alg: alg },
    extraTokenClaims: () => claims,
    features: {
      clientCredentials: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true },
      dPoP: { enabled: true }, deviceFlow: { enabled: true }, registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `${audiencePrefix}gatehouse`,
        useGrantedResource: () => true,
        // resource urn:gatehouse:audience:NAME asks for the audience NAME.
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'gateway', accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg } },
          audience: resource.startsWith(audiencePrefix) ? resource.slice(audiencePrefix.length) : resource,
        }),
      },
    },
  });
}

let handle = load().callback();
createServer((req, res) => {
  const url = new URL(req.url, issuer);
  if (req.method !== 'POST' || !url.pathname.startsWith('/rig/')) return handle(req, res);
  let body = '';
  req.on('data', (part) => { body += part; }).on('end', () => {
    if (url.pathname === '/rig/claims') claims = JSON.parse(body);
    if (url.pathname === '/rig/rotate') {
      const kept = url.searchParams.has('keep') ? JSON.parse(readFileSync(keyFile)) : [];
      writeFileSync(keyFile, JSON.stringify([newKey(), ...kept]));
      handle = load().callback();
    }
    res.end();
  });
}).listen(port, '127.0.0.1');
